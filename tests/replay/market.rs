//! The scenarios that come with the binary are the files in `tests/scenarios`.

use std::path::Path;

use tollway::replay::scenario::{Shapes, load, names, shipped};

#[test]
fn every_scenario_comes_along_and_says_what_its_file_says() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scenarios");
    assert_eq!(names().count(), std::fs::read_dir(&folder).unwrap().count());
    for name in names() {
        let file = folder.join(format!("{name}.yaml"));
        let read = load(&file, &Shapes::fitted()).unwrap_or_else(|problems| panic!("{problems}"));
        assert_eq!(format!("{:?}", crate::scenario(name)), format!("{read:?}"), "{name}");
    }
    assert!(shipped("none").is_none());
}
