//! How many humans, and of which groups.

use super::*;

/// A rule under which alice asks: its own approvers, then floors, each as `by` and quorum.
fn bound(own: Option<(&[&str], u32)>, floors: &[(&[&str], u32)]) -> BoundRule {
    let approve = |(by, quorum): &(&[&str], u32)| format!("approve = {{ by = {by:?}, quorum = {quorum} }}\n");
    let own = own.as_ref().map(approve).unwrap_or_default();
    let floors: String = floors.iter().map(|floor| format!("[[require]]\n{}", approve(floor))).collect();
    let text = format!(
        "[[allow]]\nid = \"a\"\nwho = [\"*\"]\nhosts = [\"*\"]\nlogins = [\"*\"]\nchannels = [\"shell\"]\nmax-duration = \"1h\"\n{own}{floors}"
    );
    let policy = Policy::parse(&text, "p").unwrap_or_else(|e| panic!("{e}"));
    policy.judge(&person("alice", &[], None), &host("db", &[], &["root"]), &wish("root", None, None)).unwrap().rule
}

#[test]
fn the_largest_quorum_and_one_human_of_each_group() {
    let (owner, security): (&[&str], &[&str]) = (&["role:owner"], &["role:security"]);
    let bob = || person("bob", &["owner"], None);
    let carol = || person("carol", &["security"], None);
    let dave = || person("dave", &["owner", "security"], None);
    let erin = || person("erin", &["owner"], None);
    let frank = || person("frank", &["security"], None);
    for (rule, quorum, enough, not) in [
        (bound(None, &[]), 0, vec![vec![]], vec![]),
        (bound(Some((owner, 1)), &[]), 1, vec![vec![bob()], vec![dave()]], vec![vec![carol()]]),
        // The floor asks for what the rule asks for already.
        (bound(Some((owner, 2)), &[(owner, 2)]), 2, vec![vec![bob(), erin()]], vec![vec![bob(), bob()]]),
        (bound(Some((owner, 1)), &[(owner, 2)]), 2, vec![vec![bob(), dave()]], vec![vec![bob()]]),
        // Another group contributes a human of its own: whoever holds both roles is one human.
        (
            bound(Some((owner, 1)), &[(security, 1)]),
            2,
            vec![vec![bob(), carol()], vec![dave(), bob()], vec![carol(), dave()]],
            vec![vec![dave()], vec![bob(), erin()], vec![dave(), dave()]],
        ),
        (
            bound(Some((owner, 1)), &[(security, 3)]),
            3,
            vec![vec![bob(), carol(), frank()], vec![bob(), erin(), carol()]],
            vec![vec![bob(), carol()]],
        ),
        (bound(Some((owner, 2)), &[(security, 1)]), 3, vec![vec![bob(), erin(), carol()]], vec![vec![bob(), carol(), frank()]]),
        // A floor makes an approval where the rule wants none.
        (bound(None, &[(security, 1)]), 1, vec![vec![carol()]], vec![vec![bob()], vec![]]),
    ] {
        let asker = User::parse("alice").unwrap();
        assert_eq!(rule.quorum(), quorum, "{}", rule.approver_words());
        for yeses in enough {
            assert_eq!(rule.missing(&asker, &yeses), 0, "{} {yeses:?}", rule.approver_words());
        }
        for yeses in not {
            assert!(rule.missing(&asker, &yeses) > 0, "{} {yeses:?}", rule.approver_words());
        }
    }
}

#[test]
fn approvers_are_told_by_group() {
    let rule = bound(Some((&["role:owner", "user:bob"], 1)), &[(&["role:security"], 2), (&["user:bob", "role:owner"], 1)]);
    assert_eq!(rule.approver_words(), "role:owner, user:bob + role:security");
    assert_eq!(rule.named().len(), 3);
    assert_eq!(bound(None, &[]).approver_words(), "nobody");
    let no = rule.may_decide(&person("zoe", &[], None), &User::parse("alice").unwrap()).unwrap_err();
    assert_eq!(no.to_string(), "rule a does not name you as an approver\nhint: these can: role:owner, user:bob + role:security");
}

#[test]
fn rows_of_an_older_version_are_read() {
    let old = r#"{"id":"a","text":"t","policy":"p","approve":null,"max_duration":"1h","default_duration":"1h","lapse":"24h"}"#;
    let rule: BoundRule = serde_json::from_str(old).unwrap();
    assert_eq!((rule.quorum(), rule.signed, rule.idle, rule.floors.len()), (0, false, None, 0));
    let rule = bound(Some((&["role:owner"], 1)), &[(&["role:security"], 1)]);
    assert_eq!(serde_json::from_str::<BoundRule>(&serde_json::to_string(&rule).unwrap()).unwrap(), rule);
}
