//! The eBPF object in the tree is the one that its sources give.

use skein_xtask::bpf::{self, Manifest, tree};

/// Fails when sources, manifest and object disagree; where the recorded toolchain is present, also
/// when a build from another folder is not byte for byte the same.
#[test]
fn the_kept_object_belongs_to_the_sources() {
    match bpf::check(&tree::checkout()) {
        Ok(checked) => println!("{checked}"),
        Err(error) => panic!("{error:#}"),
    }
}

#[test]
fn a_changed_source_is_noticed() {
    let root = tree::checkout();
    let copy = tempfile::tempdir().expect("a temporary folder");
    tree::copy_sources(&root, copy.path()).expect("copying the sources");
    let manifest = Manifest::read(&root).expect("the manifest");
    let object = std::fs::read(root.join(tree::OBJECT)).expect("the object");
    manifest.agrees_with(copy.path(), &object).expect("an unchanged copy agrees");

    let changed = copy.path().join("bpf/logic/src/lib.rs");
    let mut text = std::fs::read_to_string(&changed).expect("a source");
    text.push('\n');
    std::fs::write(&changed, text).expect("changing it");
    assert!(manifest.agrees_with(copy.path(), &object).is_err());
    assert!(manifest.agrees_with(&root, &object[1..]).is_err());
}
