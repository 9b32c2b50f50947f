//! The file of answers to named requests.

use super::*;
use crate::units::SystemClock;

fn clock() -> Arc<dyn Clock> {
    Arc::new(SystemClock::new())
}

async fn kept(file: &File, name: u8, value: &[u8], ttl: Duration) -> bool {
    let (tell, told) = oneshot::channel();
    let done: Done = Box::new(move |is_kept| {
        let _ = tell.send(is_kept);
    });
    file.keep([name; 32], [name; 32], value.to_vec(), ttl, done);
    told.await.unwrap()
}

#[tokio::test]
async fn an_answer_outlives_the_process_until_its_time_and_the_last_of_a_name_counts() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("once.db");
    let file = File::open(&path, clock()).unwrap();
    let hour = Duration::from_hours(1);
    assert!(kept(&file, 2, b"over", Duration::ZERO).await);
    assert!(kept(&file, 1, b"first", hour).await && kept(&file, 1, b"last", hour).await);
    file.close().await;
    let file = File::open(&path, clock()).unwrap();
    let found = file.find(&[1; 32]).unwrap();
    assert_eq!((found.print, file.read(found).await.flatten().unwrap()), ([1; 32], b"last".to_vec()));
    assert!(file.find(&[2; 32]).is_none() && file.find(&[3; 32]).is_none());
    // What is over goes when something is written.
    assert!(kept(&file, 3, b"x", hour).await);
    file.close().await;
    let connection = Connection::open(&path).unwrap();
    let names: i64 = connection.query_row("SELECT count(*) FROM once", [], |row| row.get(0)).unwrap();
    assert_eq!(names, 2);
    let rights = std::os::unix::fs::PermissionsExt::mode(&fs::metadata(&path).unwrap().permissions());
    assert_eq!(rights & 0o777, 0o600);
}

#[test]
fn r15_the_oldest_make_room_for_the_newest() {
    let mut index = Index::default();
    let found = |id, bytes, ends_ms| Found { id, print: [0; 32], ends_ms, bytes };
    for id in 1..=4_i64 {
        index.put([u8::try_from(id).unwrap(); 32], found(id, BYTES_MAX / 4, 100));
    }
    assert!(index.due(99, &[]).is_empty());
    assert_eq!(index.due(100, &[]), [1, 2, 3, 4], "their time is over");
    let value = vec![0; 1_000];
    let keep = Keep { name: [9; 32], print: [0; 32], value, ends_ms: 200, done: Box::new(|_| ()) };
    let due = index.due(99, &[keep]);
    assert_eq!(due, [1], "no more than there is need of");
    index.forget(1);
    assert_eq!((index.bytes, index.by_name.len()), (BYTES_MAX / 4 * 3, 3));
    for number in 0..RECORDS_MAX + 5 {
        let mut name = [7; 32];
        name[..8].copy_from_slice(&number.to_le_bytes());
        index.put(name, found(i64::try_from(number).unwrap() + 10, 1, 100));
    }
    assert_eq!(index.due(99, &[]).len(), 8);
}

#[tokio::test]
async fn another_programs_file_is_begun_anew_and_a_folder_that_cannot_be_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("once.db");
    Connection::open(&path).unwrap().execute_batch("CREATE TABLE other (x)").unwrap();
    let file = File::open(&path, clock()).unwrap();
    assert!(kept(&file, 1, b"x", Duration::from_hours(1)).await);
    file.close().await;
    assert!(File::open(&path.join("below"), clock()).is_err());
}
