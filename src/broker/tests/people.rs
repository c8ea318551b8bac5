use super::*;

async fn new_key(n: u64) -> NewKey {
    let key = PrivateKey::random(&mut StdRng::seed_from_u64(n), Algorithm::Ed25519).unwrap();
    NewKey { key: key.public_key().clone(), name: String::new() }
}

async fn told(world: &World, name: &str) -> Vec<String> {
    let user = User::parse(name).unwrap();
    world.broker.notices(&user).await.unwrap().into_iter().map(|notice| notice.text).collect()
}

#[tokio::test]
async fn who_could_approve_is_told_of_new_approvers() {
    let world = World::new().await;
    let before = told(&world, "bob").await.len();
    let eve = Person::staff(User::parse("eve").unwrap(), ["owner".parse().unwrap()]);
    world.broker.add_user(&local(), eve.clone(), vec![new_key(1).await]).await.unwrap();
    world.broker.add_key(&local(), &eve.user, new_key(2).await).await.unwrap();
    let news = told(&world, "bob").await;
    assert_eq!(news.len(), before + 2);
    assert!(news.contains(&"local:root added the user eve, who could approve".to_owned()), "{news:?}");
    assert!(told(&world, "eve").await.is_empty(), "nobody is told of themselves");
    assert!(told(&world, "carol").await.is_empty(), "an auditor approves nothing");
    let mallory = User::parse("mallory").unwrap();
    world.broker.add_key(&local(), &mallory, new_key(3).await).await.unwrap();
    assert_eq!(told(&world, "bob").await.len(), before + 2, "mallory could approve nothing");
    world.broker.set_roles(&local(), &mallory, ["owner".parse().unwrap()].into()).await.unwrap();
    assert!(told(&world, "bob").await.iter().any(|text| text.contains("gave mallory the role owner")));
    assert!(world.last_event().await.contains(r#""told":"alice,anna,bert,bob,eve""#));

    let bob = User::parse("bob").unwrap();
    world.broker.shown_notices(&bob, world.broker.now()).await.unwrap();
    assert!(world.broker.notices(&bob).await.unwrap().iter().all(|notice| notice.seen));
    world.clock.advance(Span::minutes(8 * 24 * 60));
    assert!(told(&world, "bob").await.is_empty(), "a week later they are old");
}
