use std::sync::Arc;

use super::*;
use crate::object::{ClusterIp, Kind};

const TWO: &str = "\
# a comment first
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec:
  ports:
  - {port: 80, targetPort: http}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec: {replicas: 3}
";

fn refs(documents: &[Document]) -> Vec<String> {
    let object = |d: &Document| match &d.outcome {
        Outcome::Object(o) => Some(o.object_ref().to_string()),
        _ => None,
    };
    documents.iter().filter_map(object).collect()
}

fn invalid(documents: &[Document]) -> Vec<(u32, Option<String>, String)> {
    let entry = |d: &Document| match &d.outcome {
        Outcome::Invalid { object, reason } => {
            Some((d.line, object.as_ref().map(ToString::to_string), reason.clone()))
        }
        _ => None,
    };
    documents.iter().filter_map(entry).collect()
}

#[test]
fn documents_are_told_apart_and_foreign_kinds_left_alone() {
    let documents = parse(TWO, Format::Yaml);
    assert_eq!(refs(&documents), ["Service shop/web"]);
    assert_eq!(documents[0].line, 2);
    assert_eq!(
        documents[1],
        Document {
            line: 9,
            outcome: Outcome::Foreign {
                api_version: "apps/v1".into(),
                kind: "Deployment".into(),
                name: "web".into()
            }
        }
    );
    let Outcome::Object(object) = &documents[0].outcome else { panic!("not an object") };
    let Object::Service(service) = &**object else { panic!("not a service") };
    assert_eq!(service.cluster_ip, ClusterIp::Any);
}

#[test]
fn an_invalid_document_names_its_line_and_field_and_hides_nothing() {
    let text = "\
apiVersion: v1
kind: Service
metadata: {name: bad}
spec:
  ports:
  - name: a
    port: 80
  - name: b
    port: 70000
---
apiVersion: v1
kind: Namespace
metadata: {name: ok}
---
apiVersion: v1
kind: Pod
metadata: {name: broken
---
apiVersion: v1
kind: Namespace
metadata: {name: ok-too}
---
kind: Namespace
metadata: {name: half}
";
    let documents = parse(text, Format::Yaml);
    assert_eq!(refs(&documents), ["Namespace ok", "Namespace ok-too"]);
    let invalid = invalid(&documents);
    assert_eq!(invalid[0].0, 9, "{invalid:?}");
    assert_eq!(invalid[0].1.as_deref(), Some("Service default/bad"));
    assert_eq!(invalid[0].2, "spec.ports[1].port: 70000 is not a port (1 to 65535)");
    assert!((15..=18).contains(&invalid[1].0) && invalid[1].1.is_none(), "{invalid:?}");
    assert_eq!((invalid[2].0, invalid[2].2.as_str()), (23, "apiVersion: missing"));
    assert_eq!(invalid.len(), 3);
}

#[test]
fn wrong_types_are_reported_where_they_stand() {
    let text =
        "apiVersion: v1\nkind: Service\nmetadata: {name: x}\nspec:\n  ports:\n  - port: many\n";
    let invalid = invalid(&parse(text, Format::Yaml));
    assert_eq!(invalid.len(), 1);
    assert_eq!(invalid[0].0, 6, "{invalid:?}");
    assert_eq!(invalid[0].1.as_deref(), Some("Service default/x"));
}

#[test]
fn lists_are_taken_apart_in_both_formats() {
    let yaml = "\
apiVersion: v1
kind: List
items:
- apiVersion: v1
  kind: Namespace
  metadata: {name: a}
- apiVersion: v1
  kind: Pod
  metadata: {name: p, labels: {build: \"12\"}}
  spec: {nodeName: n1, containers: [{name: c, resources: {limits: {cpu: 1}}}]}
- apiVersion: v1
  kind: Service
  metadata: {name: s}
";
    let documents = parse(yaml, Format::Yaml);
    assert_eq!(refs(&documents), ["Namespace a", "Pod default/p"]);
    let invalid = invalid(&documents);
    assert_eq!(invalid, [(11, Some("Service default/s".into()), "spec: missing".into())]);

    let json = r#"{"apiVersion":"v1","kind":"NamespaceList",
      "items":[{"metadata":{"name":"a"}},{"metadata":{"name":"b"}}]}
      {"apiVersion":"v1","kind":"Namespace","metadata":{"name":"c"}}"#;
    let documents = parse(json, Format::Json);
    assert_eq!(refs(&documents), ["Namespace a", "Namespace b", "Namespace c"]);
    assert_eq!(documents[2].line, 3);
}

#[test]
fn numbers_where_kubernetes_takes_quantities_are_taken() {
    let text = "apiVersion: v1\nkind: Pod\nmetadata: {name: p}\nspec:\n  containers:\n  - name: c\n    resources: {limits: {cpu: 1, memory: 1Gi}}\n    ports: [{containerPort: 80}]\n";
    assert_eq!(refs(&parse(text, Format::Yaml)), ["Pod default/p"]);
}

#[test]
fn json_errors_have_lines() {
    let invalid = invalid(&parse("{\"apiVersion\": \"v1\",\n \"kind\": }", Format::Json));
    assert_eq!(invalid[0].0, 2);
    assert!(parse("", Format::Json).is_empty());
    assert!(parse("# nothing\n---\n---\n", Format::Yaml).is_empty());
}

fn file(path: &str) -> FileId {
    FileId { root: 0, path: Arc::from(path) }
}

fn service(name: &str, port: &str) -> String {
    format!(
        "---\napiVersion: v1\nkind: Service\nmetadata: {{name: {name}}}\nspec: {{ports: [{{port: {port}}}]}}\n"
    )
}

fn name(text: &str) -> ObjectRef {
    ObjectRef::new(Kind::Service, "default", text)
}

fn port_of(set: &mut ManifestSet, of: &str) -> Option<u16> {
    match &**set.snapshot().objects.get(&name(of))? {
        Object::Service(s) => Some(s.service.ports[0].port.get()),
        _ => None,
    }
}

#[test]
fn an_invalid_edit_keeps_the_last_good_version() {
    let mut set = ManifestSet::default();
    set.put_file(&file("a.yaml"), &(service("x", "80") + &service("y", "81")), Format::Yaml);
    set.put_file(&file("a.yaml"), &(service("x", "99999") + &service("y", "82")), Format::Yaml);
    assert_eq!(port_of(&mut set, "x"), Some(80));
    assert_eq!(port_of(&mut set, "y"), Some(82));
    let snapshot = set.snapshot();
    assert!(snapshot.complete && snapshot.held.is_empty());
    assert_eq!(snapshot.problems.len(), 1);
    assert_eq!(snapshot.problems[0].origin.line, 5);

    set.put_file(&file("a.yaml"), &service("y", "82"), Format::Yaml);
    assert_eq!(port_of(&mut set, "x"), None, "taken out by a good edit");
    assert!(set.snapshot().problems.is_empty());
}

#[test]
fn a_nameless_document_keeps_what_its_file_held() {
    let mut set = ManifestSet::default();
    set.put_file(&file("a.yaml"), &(service("x", "80") + &service("y", "81")), Format::Yaml);
    set.put_file(&file("a.yaml"), &(service("y", "82") + "---\n{{{\n"), Format::Yaml);
    assert_eq!(port_of(&mut set, "x"), Some(80));
    assert_eq!(port_of(&mut set, "y"), Some(82));
    assert!(set.snapshot().complete, "what the file held is known");

    set.put_file(&file("b.yaml"), "{{{", Format::Yaml);
    assert!(!set.snapshot().complete, "what this file held is not known");
    set.put_file(&file("b.yaml"), &service("z", "1"), Format::Yaml);
    assert!(set.snapshot().complete);
}

#[test]
fn an_object_never_seen_in_a_good_version_is_held() {
    let mut set = ManifestSet::default();
    set.put_file(&file("a.yaml"), &service("x", "0"), Format::Yaml);
    assert!(set.snapshot().held.contains(&name("x")));
    assert!(set.snapshot().complete);
    set.put_file(&file("a.yaml"), &service("x", "1"), Format::Yaml);
    assert!(set.snapshot().held.is_empty());
    set.put_file(&file("a.yaml"), &service("x", "0"), Format::Yaml);
    set.remove_file(&file("a.yaml"));
    assert_eq!(port_of(&mut set, "x"), None);
    assert!(set.snapshot().held.is_empty());
}

#[test]
fn the_first_place_wins_and_the_others_are_reported() {
    let mut set = ManifestSet::default();
    set.put_file(&file("b.yaml"), &service("x", "2"), Format::Yaml);
    assert_eq!(port_of(&mut set, "x"), Some(2));
    set.put_file(&file("a.yaml"), &(service("x", "1") + &service("x", "3")), Format::Yaml);
    assert_eq!(port_of(&mut set, "x"), Some(1));
    let problems = set.snapshot().problems;
    assert_eq!(problems.len(), 2);
    assert!(problems[0].reason.contains("a.yaml:2"), "{problems:?}");
    set.remove_file(&file("a.yaml"));
    assert_eq!(port_of(&mut set, "x"), Some(2));
    assert!(set.snapshot().problems.is_empty());
}

#[test]
fn unreadable_files_and_folders_keep_what_they_held() {
    let mut set = ManifestSet::default();
    set.put_file(&file("a.yaml"), &service("x", "1"), Format::Yaml);
    set.put_unreadable_file(&file("a.yaml"), "permission denied");
    assert_eq!(port_of(&mut set, "x"), Some(1));
    assert!(set.snapshot().complete);
    set.put_unreadable_file(&file("b.yaml"), "permission denied");
    assert!(!set.snapshot().complete);
    set.remove_file(&file("b.yaml"));
    set.set_folder(&file("sub"), Some("permission denied".into()));
    assert!(!set.snapshot().complete);
    set.set_folder(&file("sub"), None);
    assert!(set.snapshot().complete);
}

#[test]
fn unchanged_objects_keep_their_allocation() {
    let mut set = ManifestSet::default();
    let text = service("x", "1") + &service("y", "1");
    set.put_file(&file("a.yaml"), &text, Format::Yaml);
    let before = set.snapshot();
    set.put_file(&file("a.yaml"), &(text + "# a comment\n"), Format::Yaml);
    assert!(before.objects.ptr_eq(&set.snapshot().objects));
}

proptest::proptest! {
    #[test]
    fn any_text_parses_to_something(text in "\\PC{0,200}") {
        parse(&text, Format::Yaml);
        parse(&text, Format::Json);
    }

    /// Manifests with bytes flipped: never a panic, and lines stay inside the file.
    #[test]
    fn damaged_manifests_have_their_problems_inside_the_file(at in 0..200_usize, with in 32_u8..127) {
        let mut bytes = TWO.as_bytes().to_vec();
        let at = at % bytes.len();
        bytes[at] = with;
        let text = String::from_utf8(bytes).unwrap();
        let lines = text.lines().count() as u32;
        for document in parse(&text, Format::Yaml) {
            proptest::prop_assert!((1..=lines + 1).contains(&document.line), "{document:?}");
        }
    }
}

#[test]
fn directives_belong_to_the_document_after_them() {
    let text = "# written by hand\n%YAML 1.2\n---\napiVersion: v1\nkind: Namespace\n\
                metadata: {name: a}\n...\n---\napiVersion: v1\nkind: Secret\n";
    let documents = parse(text, Format::Yaml);
    let [first, second] = &documents[..] else { panic!("{documents:?}") };
    assert!(matches!(&first.outcome, Outcome::Object(_)), "{first:?}");
    assert_eq!(first.line, 4);
    assert!(matches!(&second.outcome, Outcome::Foreign { .. }), "{second:?}");
}

#[test]
fn lines_in_a_reason_are_those_of_the_file() {
    let text = "apiVersion: v1\nkind: Secret\n---\napiVersion: v1\nkind: Service\n\
                metadata: {name: a}\nspec: {ports: [{port: 1}], ports: [{port: 2}]}\n";
    let documents = parse(text, Format::Yaml);
    let Outcome::Invalid { reason, .. } = &documents[1].outcome else { panic!("{documents:?}") };
    assert_eq!(documents[1].line, 7);
    assert!(reason.contains("line 7") && !reason.contains("Options"), "{reason}");
}
