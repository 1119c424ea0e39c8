//! Which keys a range finds and how they look.

use skein_store_api::pb::etcdserverpb::{PutRequest, RangeRequest};

use super::{Case, cases};
use crate::ask;
use crate::check::{Verdict, holds, refused, same};
use crate::context::Context;
use crate::endpoint::{Kv, Text};

pub(super) const CASES: &[Case] = cases!(Everywhere, "range":
    single_key_shows_every_field,
    missing_key_is_an_empty_answer,
    end_is_exclusive,
    end_zero_means_from_key,
    both_zero_means_everything,
    key_zero_with_an_end_means_from_the_first_key,
    prefix_by_its_successor,
    end_before_key_finds_nothing,
    end_equal_to_key_finds_nothing,
    keys_are_ordered_by_bytes,
    zero_byte_in_a_key_is_an_ordinary_byte,
    empty_key_is_refused,
    empty_key_with_an_end_is_refused,
    serializable_answers_the_same,
    long_keys_and_values_come_back_whole,
);

const KEYS: [&str; 5] = ["a", "b", "c", "d", "e"];

async fn single_key_shows_every_field(cx: Context) -> Verdict {
    let created = cx.put("key", "one").await?;
    let modified = cx.put("key", "two").await?;
    let answer = cx.store.range(ask::get("key")).await?;
    let expected = Kv {
        key: Text(b"key".to_vec()),
        value: Text(b"two".to_vec()),
        create_revision: created,
        mod_revision: modified,
        version: 2,
        lease: 0,
    };
    same!(answer.kvs, [expected]);
    same!(answer.count, 1);
    same!(answer.more, false);
    same!(answer.header.revision, modified);
    Ok(())
}

async fn missing_key_is_an_empty_answer(cx: Context) -> Verdict {
    let revision = cx.put("other", "x").await?;
    let answer = cx.store.range(ask::get("key")).await?;
    same!(answer.kvs, []);
    same!(answer.count, 0);
    same!(answer.more, false);
    same!(answer.header.revision, revision);
    Ok(())
}

async fn end_is_exclusive(cx: Context) -> Verdict {
    cx.fill(&KEYS).await?;
    let answer = cx.store.range(ask::range("b", "d")).await?;
    same!(answer.keys(), ["b", "c"]);
    same!(answer.count, 2);
    Ok(())
}

async fn end_zero_means_from_key(cx: Context) -> Verdict {
    cx.fill(&KEYS).await?;
    let answer = cx.store.range(ask::range("c", ask::FROM_KEY)).await?;
    same!(answer.keys(), ["c", "d", "e"]);
    Ok(())
}

async fn both_zero_means_everything(cx: Context) -> Verdict {
    cx.fill(&KEYS).await?;
    let answer = cx.everything().await?;
    same!(answer.keys(), KEYS);
    same!(answer.count, 5);
    Ok(())
}

async fn key_zero_with_an_end_means_from_the_first_key(cx: Context) -> Verdict {
    cx.fill(&KEYS).await?;
    same!(cx.store.range(ask::range("\0", "c")).await?.keys(), ["a", "b"]);
    Ok(())
}

async fn prefix_by_its_successor(cx: Context) -> Verdict {
    cx.fill(&["p", "pa", "p/1", "p/2", "p0", "q"]).await?;
    same!(cx.store.range(ask::range("p/", "p0")).await?.keys(), ["p/1", "p/2"]);
    same!(cx.store.range(ask::range("p", "q")).await?.keys(), ["p", "p/1", "p/2", "p0", "pa"]);
    Ok(())
}

async fn end_before_key_finds_nothing(cx: Context) -> Verdict {
    cx.fill(&KEYS).await?;
    let answer = cx.store.range(ask::range("d", "b")).await?;
    same!(answer.kvs, []);
    same!(answer.count, 0);
    Ok(())
}

async fn end_equal_to_key_finds_nothing(cx: Context) -> Verdict {
    cx.fill(&KEYS).await?;
    let answer = cx.store.range(ask::range("b", "b")).await?;
    same!(answer.kvs, []);
    same!(answer.count, 0);
    Ok(())
}

async fn keys_are_ordered_by_bytes(cx: Context) -> Verdict {
    let mut keys: Vec<Vec<u8>> = vec![
        vec![0xff],
        vec![0x80],
        b"a".to_vec(),
        vec![0, 1],
        vec![0xff, 0],
        b"B".to_vec(),
        vec![0],
    ];
    for key in &keys {
        cx.store.put(raw_put(key, b"v")).await?;
    }
    keys.sort();
    let found: Vec<Vec<u8>> = cx.everything().await?.kvs.into_iter().map(|kv| kv.key.0).collect();
    same!(found, keys);
    Ok(())
}

async fn zero_byte_in_a_key_is_an_ordinary_byte(cx: Context) -> Verdict {
    cx.fill(&["a", "a\0", "a\0b", "ab"]).await?;
    same!(cx.store.range(ask::range("a\0", "ab")).await?.keys(), ["a\0", "a\0b"]);
    same!(cx.store.range(ask::get("a\0")).await?.keys(), ["a\0"]);
    Ok(())
}

async fn empty_key_is_refused(cx: Context) -> Verdict {
    let answer = cx.store.range(ask::get("")).await;
    refused!(answer, InvalidArgument, "etcdserver: key is not provided");
    Ok(())
}

async fn empty_key_with_an_end_is_refused(cx: Context) -> Verdict {
    let answer = cx.store.range(ask::range("", "z")).await;
    refused!(answer, InvalidArgument, "etcdserver: key is not provided");
    Ok(())
}

async fn serializable_answers_the_same(cx: Context) -> Verdict {
    cx.fill(&KEYS).await?;
    let linearizable = cx.everything().await?;
    let request = RangeRequest { serializable: true, ..ask::everything() };
    let serializable = cx.store.range(request).await?;
    same!(serializable.kvs, linearizable.kvs);
    same!(serializable.count, linearizable.count);
    holds!(serializable.header.revision == linearizable.header.revision);
    Ok(())
}

async fn long_keys_and_values_come_back_whole(cx: Context) -> Verdict {
    let key: Vec<u8> = (0..4096_u32).map(|i| (i % 251) as u8 + 1).collect();
    let value: Vec<u8> = (0..1_000_000_u32).map(|i| (i % 256) as u8).collect();
    cx.store.put(raw_put(&key, &value)).await?;
    let request = RangeRequest { key: key.clone().into(), ..Default::default() };
    let answer = cx.store.range(request).await?;
    same!(answer.count, 1);
    holds!(answer.kvs[0].key.0 == key);
    holds!(answer.kvs[0].value.0 == value);
    Ok(())
}

fn raw_put(key: &[u8], value: &[u8]) -> PutRequest {
    PutRequest { key: key.to_vec().into(), value: value.to_vec().into(), ..Default::default() }
}
