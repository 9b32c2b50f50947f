//! Files as people and machines change them: each kind of change is seen, none is taken half done (R45, R47).

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;
use tokio::sync::mpsc;
use tollway::config::{Location, Problems, Snapshot, Snapshots};

/// How long a change may take to be heard of.
const PATIENCE: Duration = Duration::from_secs(10);

struct Desk {
    folder: TempDir,
    snapshots: Snapshots,
    heard: mpsc::Receiver<Result<Arc<Snapshot>, Problems>>,
    following: tokio::task::JoinHandle<()>,
}

impl Drop for Desk {
    fn drop(&mut self) {
        self.following.abort();
    }
}

impl Desk {
    /// A configuration and a folder with one policy, followed.
    #[expect(clippy::disallowed_methods, reason = "a test's own task")]
    fn new(lay_out: impl FnOnce(&Path)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("tollway.yaml"), "limits: {json_depth_max: 1}\n").unwrap();
        lay_out(folder.path());
        let location =
            Location::new(Some(folder.path().join("tollway.yaml")), Some(folder.path().join("policies")));
        let snapshots = Snapshots::open(location).unwrap_or_else(|problems| panic!("{problems}"));
        let (tell, heard) = mpsc::channel(1000);
        let followed = snapshots.clone();
        let following = tokio::spawn(async move {
            followed.follow(move |outcome| tell.try_send(outcome).expect("few enough changes")).await;
        });
        Self { folder, snapshots, heard, following }
    }

    fn plain() -> Self {
        Self::new(|folder| {
            fs::create_dir(folder.join("policies")).unwrap();
            fs::write(folder.join("policies/10.yaml"), policy("p0")).unwrap();
        })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// What is heard next.
    async fn next(&mut self) -> Result<Arc<Snapshot>, Problems> {
        tokio::time::timeout(PATIENCE, self.heard.recv()).await.expect("a change is heard in time").unwrap()
    }

    /// Waits until the first policy in force has this name. Nothing else may be heard before.
    async fn until(&mut self, name: &str) {
        let snapshot = self.next().await.unwrap_or_else(|problems| panic!("before {name}: {problems}"));
        assert_eq!(&*snapshot.policies[0].name, name);
        assert_eq!(&*self.snapshots.load().policies[0].name, name);
    }
}

fn policy(name: &str) -> String {
    format!("policy: {name}\nobjective: cost\n# {}\n", "padding ".repeat(20))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r47_each_kind_of_change_is_seen_once() {
    let mut desk = Desk::plain();
    let file = desk.path("policies/10.yaml");
    for round in 0..3 {
        // Truncate and write.
        fs::write(&file, policy(&format!("written{round}"))).unwrap();
        desk.until(&format!("written{round}")).await;
        // Rename over the old one, as editors do.
        let new = desk.path("policies/.10.yaml.swp");
        fs::write(&new, policy(&format!("renamed{round}"))).unwrap();
        fs::rename(&new, &file).unwrap();
        desk.until(&format!("renamed{round}")).await;
        // Delete and put back.
        fs::remove_file(&file).unwrap();
        fs::write(&file, policy(&format!("putback{round}"))).unwrap();
        desk.until(&format!("putback{round}")).await;
        // Another file, before and gone again.
        let earlier = desk.path("policies/05.yaml");
        fs::write(&earlier, policy(&format!("earlier{round}"))).unwrap();
        desk.until(&format!("earlier{round}")).await;
        fs::remove_file(&earlier).unwrap();
        desk.until(&format!("putback{round}")).await;
    }
    // The other file.
    fs::write(desk.path("tollway.yaml"), "limits: {json_depth_max: 77}\n").unwrap();
    assert_eq!(desk.next().await.unwrap().settings.limits.json_depth_max, 77);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r47_a_swapped_symlink_is_seen_as_kubernetes_does_it() {
    let lay_out = |folder: &Path| {
        fs::create_dir_all(folder.join("policies/..v1")).unwrap();
        fs::write(folder.join("policies/..v1/10.yaml"), policy("p0")).unwrap();
        symlink("..v1", folder.join("policies/..data")).unwrap();
        symlink("..data/10.yaml", folder.join("policies/10.yaml")).unwrap();
    };
    let mut desk = Desk::new(lay_out);
    for round in 2..5 {
        let version = format!("..v{round}");
        fs::create_dir(desk.path("policies").join(&version)).unwrap();
        fs::write(desk.path("policies").join(&version).join("10.yaml"), policy(&format!("v{round}")))
            .unwrap();
        symlink(&version, desk.path("policies/..data_tmp")).unwrap();
        fs::rename(desk.path("policies/..data_tmp"), desk.path("policies/..data")).unwrap();
        desk.until(&format!("v{round}")).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r47_a_folder_that_vanishes_leaves_the_old_policies_in_force() {
    let mut desk = Desk::plain();
    let away = desk.path("away");
    fs::rename(desk.path("policies"), &away).unwrap();
    assert!(desk.next().await.unwrap_err().has_errors());
    assert_eq!(&*desk.snapshots.load().policies[0].name, "p0");
    assert!(desk.snapshots.problem().is_some());
    // Asked again, the answer is the same: the defaults never slip in.
    assert!(desk.snapshots.reload().is_err());
    fs::write(away.join("10.yaml"), policy("back")).unwrap();
    fs::rename(&away, desk.path("policies")).unwrap();
    desk.until("back").await;
    assert_eq!(desk.snapshots.problem(), None);
    // The folder is another one than that which was watched first; its changes are seen all the same.
    fs::write(desk.path("policies/10.yaml"), policy("later")).unwrap();
    desk.until("later").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r45_a_broken_file_changes_nothing_and_says_why() {
    let mut desk = Desk::plain();
    let before = desk.snapshots.load();
    let file = desk.path("policies/10.yaml");
    for broken in ["policy: [", "policy: p\nobjective: costs\n", "", "policy: p\npolicy: p\n", "\0"] {
        fs::write(&file, broken).unwrap();
        let problems = desk.next().await.unwrap_err();
        assert!(problems.has_errors());
        assert!(problems.to_string().contains("10.yaml"), "{problems}");
        assert!(Arc::ptr_eq(&before, &desk.snapshots.load()));
        assert_eq!(desk.snapshots.problem(), Some(problems.to_string()));
    }
    fs::write(&file, policy("mended")).unwrap();
    desk.until("mended").await;
    assert_eq!(desk.snapshots.load().generation, before.generation + 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r47_a_slow_writer_is_never_read_half_way() {
    use std::io::Write as _;
    let mut desk = Desk::plain();
    let whole = policy("slowly-written-by-hand");
    let path = desk.path("policies/10.yaml");
    let text = whole.clone();
    let writer = tokio::task::spawn_blocking(move || {
        let mut file = fs::File::create(&path).unwrap();
        for step in text.as_bytes().chunks(10) {
            file.write_all(step).unwrap();
            file.flush().unwrap();
            // The pace of the writer is what is tested.
            std::thread::sleep(Duration::from_millis(20));
        }
    });
    // A prefix that parses would name another policy, one that does not would be refused: neither is heard.
    desk.until("slowly-written-by-hand").await;
    writer.await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_that_stay_the_same_are_not_taken_again() {
    let mut desk = Desk::plain();
    let before = desk.snapshots.load();
    for _ in 0..5 {
        fs::write(desk.path("policies/10.yaml"), policy("p0")).unwrap();
        fs::write(desk.path("policies/notes.txt"), "not a policy").unwrap();
    }
    // A change that does count ends the wait; it is the first that was heard of.
    fs::write(desk.path("policies/20.yaml"), "policy: second\nmatch: {tags: {a: b}}\n").unwrap();
    let snapshot = desk.next().await.unwrap();
    assert_eq!((snapshot.generation, snapshot.policies.len()), (before.generation + 1, 2));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_needs_a_restart_keeps_its_value() {
    let mut desk = Desk::plain();
    fs::write(
        desk.path("tollway.yaml"),
        "{listen: 127.0.0.1:9, state_dir: /elsewhere, limits: {json_depth_max: 5}}",
    )
    .unwrap();
    let snapshot = desk.next().await.unwrap();
    assert_eq!(snapshot.settings.listen.to_string(), "127.0.0.1:8080");
    assert_eq!(snapshot.settings.limits.json_depth_max, 5);
}

#[test]
fn a_file_that_is_named_must_exist_and_an_unreadable_one_is_no_empty_one() {
    let folder = tempfile::tempdir().unwrap();
    let open = |config: Option<PathBuf>, policies: Option<PathBuf>| {
        Snapshots::open(Location::new(config, policies)).err().map(|problems| problems.to_string())
    };
    let missing = folder.path().join("missing");
    assert!(open(Some(missing.clone()), Some(folder.path().to_owned())).unwrap().contains("cannot be read"));
    let config = folder.path().join("tollway.yaml");
    fs::write(&config, "").unwrap();
    assert!(open(Some(config.clone()), Some(missing)).unwrap().contains("cannot be read"));
    let nothing = folder.path().join("nothing");
    fs::create_dir(&nothing).unwrap();
    assert_eq!(open(Some(config.clone()), Some(nothing)), None, "an empty configuration is one");
    let policies = folder.path().join("policies");
    fs::create_dir_all(policies.join("10.yaml")).unwrap();
    assert!(open(Some(config.clone()), Some(policies)).unwrap().contains("not a regular file"));
    assert!(open(Some("/dev/zero".into()), None).unwrap().contains("not a regular file"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fetched_prices_are_taken_up_by_a_running_gateway() {
    let mut desk = Desk::new(|folder| {
        let config = "providers: {mine: {kind: together, base_url: 'http://127.0.0.1:1/v1'}}\n";
        fs::write(folder.join("tollway.yaml"), config).unwrap();
        fs::create_dir_all(folder.join("policies")).unwrap();
        fs::write(folder.join("policies/10.yaml"), policy("p0")).unwrap();
        fs::create_dir(folder.join("data")).unwrap();
    });
    let moment = "2026-11-20T10:00:00Z".parse().unwrap();
    let input = |snapshot: &Snapshot| {
        let route = snapshot.routes.iter().find(|route| &*route.name == "mine/openai/gpt-oss-20b").unwrap();
        route.price.as_ref().unwrap().rates(0, moment).input.to_string()
    };
    assert_eq!(input(&desk.snapshots.load()), "0.05");
    let row = r#"{"provider": "mine", "model_id": "openai/gpt-oss-20b", "checkpoint": "gpt-oss-20b", "family": "gpt-oss-20b",
        "context_length": null, "input_usd_per_mtok": 0.04, "output_usd_per_mtok": 0.2, "valid_from": "2026-11-20T10:00:00Z",
        "as_of": "2026-11-25", "confidence": "fetched", "source": "list"}"#;
    let fetched = format!(r#"{{"rows": [{row}]}}"#);
    fs::write(desk.path("data/.new"), &fetched).unwrap();
    fs::rename(desk.path("data/.new"), desk.path("data/prices.json")).unwrap();
    let taken = desk.next().await.unwrap_or_else(|problems| panic!("{problems}"));
    assert_eq!(input(&taken), "0.04");
    // What is broken is said, and the shipped price serves.
    fs::write(desk.path("data/prices.json"), "{").unwrap();
    let broken = desk.next().await.unwrap_or_else(|problems| panic!("{problems}"));
    assert_eq!((input(&broken), broken.warnings.len()), ("0.05".to_owned(), 1));
}
