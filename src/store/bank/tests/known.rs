//! What the configuration states is shown, in one process and in a fleet alike, through reloads and from window to window.

use std::sync::Arc;

use jiff::ToSpan;
use tollway_test_support::Redis;

use crate::budget::{Book, Budget, Level};
use crate::units::{Clock, NanoUsd, Now};

use super::{Replica, budget, demand};

fn shown(levels: &[Level]) -> Vec<(String, i64, i64, i64)> {
    levels
        .iter()
        .map(|one| (one.budget.id.to_string(), one.budget.limit.0, one.spent.0, one.held.0))
        .collect()
}

#[tokio::test]
async fn what_leaves_the_configuration_is_shown_no_more_and_what_it_spent_stays() {
    let redis = Redis::start().await;
    let a = Replica::open(redis.url(), "a", |_| ()).await;
    let mut book = Book::default();
    let (one, other) = (budget("one", 100), budget("other", 100));
    let changed = Arc::new(Budget { limit: NanoUsd(70), ..Budget::clone(&other) });
    let same = |book: &Book, now: Now| {
        let (here, there) = (shown(&book.levels(now)), shown(&a.bank.levels(now)));
        assert_eq!(here, there);
        here
    };
    let row = |id: &str, limit, spent| (id.to_owned(), limit, spent, 0);
    let now = a.clock.now();
    book.know_only(&[one.clone(), other.clone()]);
    a.bank.know_only(&[one.clone(), other.clone()], now);
    assert_eq!(same(&book, now), [row("one", 100, 0), row("other", 100, 0)]);
    for budget in [&one, &other] {
        let asked = demand(budget, 40);
        book.admit(&asked, now).unwrap();
        a.admit(&asked).await.unwrap();
        book.settle(asked.id, NanoUsd(30), 0, now);
        a.bank.settle(asked.id, NanoUsd(30), 0);
    }
    a.told().await;
    // One is taken away, and the other made smaller.
    book.know_only(std::slice::from_ref(&changed));
    a.bank.know_only(std::slice::from_ref(&changed), now);
    assert_eq!(same(&book, now), [row("other", 70, 30)]);
    let asked = demand(&changed, 41);
    assert_eq!(book.admit(&asked, now).unwrap_err().why, a.admit(&asked).await.unwrap_err().why);
    // In the next window there is nothing yet.
    let later = Now { wall: now.wall.checked_add((24 * 40).hours()).unwrap(), ..now };
    assert_eq!(same(&book, later), [row("other", 70, 0)]);
    // What comes back goes on from what was spent.
    book.know_only(std::slice::from_ref(&one));
    a.bank.know_only(std::slice::from_ref(&one), now);
    assert_eq!(same(&book, now), [row("one", 100, 30)]);
}
