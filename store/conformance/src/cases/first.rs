//! An untouched store.

use super::{Case, cases};
use crate::check::{Verdict, same};
use crate::context::Context;

pub(super) const CASES: &[Case] = cases!(Everywhere, "first": fresh_store_is_at_revision_one);

async fn fresh_store_is_at_revision_one(cx: Context) -> Verdict {
    same!(cx.everything().await?.count, 0);
    same!(cx.revision().await?, 1);
    same!(cx.put("a", "1").await?, 2);
    same!(cx.revision().await?, 2);
    Ok(())
}
