//! `docs/schema.md` says what the types say. `UPDATE=1` writes it anew.

use std::path::Path;

#[test]
fn schema_document_is_fresh() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/schema.md");
    let rendered = skein_store_schema::doc::render();
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, &rendered).unwrap();
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        kept == rendered,
        "docs/schema.md is stale: UPDATE=1 cargo test -p skein-store-schema --test document"
    );
}
