//! What is too large.

use skein_store_api::pb::etcdserverpb::PutRequest;

use super::{Case, cases};
use crate::ask;
use crate::check::{Verdict, holds, refused, same};
use crate::context::Context;

pub(super) const CASES: &[Case] = cases!(Members, "limits":
    largest_value_is_stored,
    value_above_the_request_limit_is_refused,
    txn_above_the_request_limit_is_refused,
    message_above_the_transport_limit_is_refused,
    answer_above_the_request_limit_is_sent,
    refused_request_changes_nothing,
);

/// etcd's default bound on one request, in bytes.
const REQUEST_BYTES_MAX: usize = 1_572_864;

const TOO_LARGE: &str = "etcdserver: request is too large";

fn large(key: &str, size: usize) -> PutRequest {
    PutRequest { value: vec![b'x'; size].into(), ..ask::put(key, "") }
}

async fn largest_value_is_stored(cx: Context) -> Verdict {
    // Room for the key and for the envelope in which a request is replicated.
    let size = REQUEST_BYTES_MAX - 512;
    cx.store.put(large("a", size)).await?;
    same!(cx.kv("a").await?.value.0.len(), size);
    Ok(())
}

async fn value_above_the_request_limit_is_refused(cx: Context) -> Verdict {
    let answer = cx.store.put(large("a", REQUEST_BYTES_MAX)).await;
    refused!(answer, InvalidArgument, TOO_LARGE);
    Ok(())
}

async fn txn_above_the_request_limit_is_refused(cx: Context) -> Verdict {
    let half = || REQUEST_BYTES_MAX / 2 + 100;
    let ops = ["a", "b"].map(|key| ask::op_put_with(large(key, half()))).to_vec();
    refused!(cx.store.txn(ask::always(ops)).await, InvalidArgument, TOO_LARGE);
    Ok(())
}

async fn message_above_the_transport_limit_is_refused(cx: Context) -> Verdict {
    let answer = cx.store.put(large("a", REQUEST_BYTES_MAX + (600 << 10))).await;
    match answer {
        Ok(_) => Err(crate::check::Failure::new("a message above the transport limit was taken")),
        Err(refusal) => {
            same!(refusal.code, tonic::Code::ResourceExhausted);
            Ok(())
        }
    }
}

async fn answer_above_the_request_limit_is_sent(cx: Context) -> Verdict {
    for i in 0..4 {
        cx.store.put(large(&format!("k{i}"), 1_500_000)).await?;
    }
    let answer = cx.everything().await?;
    same!(answer.count, 4);
    holds!(answer.kvs.iter().all(|kv| kv.value.0.len() == 1_500_000));
    Ok(())
}

async fn refused_request_changes_nothing(cx: Context) -> Verdict {
    let before = cx.put("a", "1").await?;
    holds!(cx.store.put(large("a", REQUEST_BYTES_MAX)).await.is_err());
    same!(cx.revision().await?, before);
    same!(cx.kv("a").await?.value, "1");
    Ok(())
}
