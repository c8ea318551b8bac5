//! A grant's bytes towards the client: shared by its sessions, given back by those that end, lost to those that are killed.

use super::*;
use crate::access::size::Size;

const LIMIT: Size = Size::bytes(1_000_000);

async fn world() -> World {
    let world = World::new().await;
    world.reload(&POLICY.replace("id = \"dba-phi\"\n", "id = \"dba-phi\"\negress = \"1000000B\"\n")).await.unwrap();
    world
}

async fn taken(world: &World, grant: &GrantId) -> u64 {
    world.broker.reader().egress(grant).await.unwrap()
}

#[tokio::test]
async fn sessions_share_it_and_give_back_what_they_did_not_use() {
    let world = world().await;
    let grant = world.granted("postgres").await;
    let mut first = world.enter("postgres").await;
    let second = world.enter("postgres").await;
    let (mine, other) = (first.egress.unwrap(), second.egress.unwrap());
    assert_eq!((mine.limit, mine.left), (LIMIT, 250_000));
    assert_eq!(taken(&world, &grant.id).await, mine.left + other.left);
    // another node takes from the same budget
    let there = world.on_node("node-2").await;
    let mut more = 0;
    loop {
        match there.more_egress(&grant.id, LIMIT).await.unwrap() {
            0 => break,
            share => more += share,
        }
    }
    assert_eq!(mine.left + other.left + more, 1_000_000, "never more than the whole");
    assert_eq!(world.broker.more_egress(&grant.id, LIMIT).await.unwrap(), 0);
    let refused =
        refused(world.broker.open_session(world.admit("alice", "phi-db", "postgres").await.unwrap(), CLIENT.parse().unwrap()).await);
    assert_eq!((refused.code, refused.next.is_some()), ("over-budget", true));
    first.egress.as_mut().unwrap().left = 7;
    world.leave(first, Ending::Left).await;
    assert_eq!(taken(&world, &grant.id).await, 1_000_000 - 7);
    world.leave(second, Ending::Left).await;
    assert_eq!(taken(&world, &grant.id).await, 1_000_000 - 7 - other.left);
    world.verify().await;
}

#[tokio::test]
async fn a_store_that_knows_of_fewer_bytes_keeps_no_session_from_ending() {
    let world = world().await;
    let grant = world.granted("postgres").await;
    let open = world.enter("postgres").await;
    world.broker.store.forget_egress(grant.id.as_str()).await;
    world.leave(open, Ending::Left).await;
    assert_eq!((taken(&world, &grant.id).await, world.events(1).await), (0, vec!["session-closed".to_owned()]));
}

#[tokio::test]
async fn what_a_killed_session_had_set_aside_stays_spent() {
    let world = world().await;
    let grant = world.granted("postgres").await;
    let open = world.enter("postgres").await;
    let aside = open.egress.unwrap().left;
    drop(open);
    world.broker.recover(Vec::new()).await.unwrap();
    assert_eq!(taken(&world, &grant.id).await, aside);
}

#[tokio::test]
async fn a_floor_of_now_makes_it_smaller_and_the_text_stays() {
    let world = world().await;
    let request = world.ask("alice", "phi-db", Some("postgres")).await.unwrap();
    let text = request.canonical_text();
    assert!(text.contains("\negress: 1000000B\n"), "{text}");
    let policy = POLICY.replace("id = \"dba-phi\"\n", "id = \"dba-phi\"\negress = \"1000000B\"\n");
    world.reload(&format!("{policy}\n[[require]]\nhosts = [\"phi-db\"]\negress = \"1KiB\"\n")).await.unwrap();
    let mut read = [world.broker.reader().request(&request.id).await.unwrap().unwrap()];
    world.broker.under_floors(&mut read).await.unwrap();
    assert_eq!(read[0].canonical_text(), text);
    world.yes("bob", &request).await.unwrap();
    assert_eq!(world.enter("postgres").await.egress, Some(Budget { limit: Size::bytes(1024), left: 1024 }));
}

#[tokio::test]
async fn what_a_user_left_in_recordings_counts_for_a_day() {
    let world = World::new().await;
    let recorded = async |name: &str| world.broker.recorded_today(&User::parse(name).unwrap()).await.unwrap();
    world.granted("postgres").await;
    let id = super::recovering::killed(&world, true).await;
    assert_eq!(recorded("alice").await, 0, "as long as it goes on it is counted elsewhere");
    world.broker.recover(super::recovering::found(&world)).await.unwrap();
    let row = world.broker.reader().session(&id).await.unwrap().unwrap();
    let bytes: u64 = row.channels.iter().map(|channel| channel.bytes).sum();
    assert!(bytes > 0);
    assert_eq!((recorded("alice").await, recorded("bob").await), (bytes, 0));
    world.clock.advance(Span::minutes(24 * 60 - 1));
    assert_eq!(recorded("alice").await, bytes);
    world.clock.advance(Span::minutes(2));
    assert_eq!(recorded("alice").await, 0);
}
