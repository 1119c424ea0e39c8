package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/clientv3util"
	"go.etcd.io/etcd/client/v3/kubernetes"
	"go.etcd.io/etcd/client/v3/mirror"
	"go.etcd.io/etcd/client/v3/namespace"
	"go.etcd.io/etcd/client/v3/ordering"
	"google.golang.org/grpc/status"
)

var _ = add("kv: put options and their errors", func(t *T) {
	t.put("a", "1")
	lease, err := t.cli.Grant(t.ctx, 60)
	t.must(err)
	t.put("a", "2", clientv3.WithLease(lease.ID))
	for _, opts := range [][]clientv3.OpOption{
		{clientv3.WithPrevKV()},
		{clientv3.WithIgnoreLease(), clientv3.WithPrevKV()},
		{clientv3.WithLease(12345)},
	} {
		answer, err := t.cli.Put(t.ctx, "a", "3", opts...)
		if err != nil {
			t.say("error: %v", err)
			continue
		}
		t.say("rev=%d prev=%s", answer.Header.Revision, kvText(answer.PrevKv))
	}
	_, err = t.cli.Put(t.ctx, "unknown", "", clientv3.WithIgnoreValue())
	t.say("ignore value of an unknown key: %v", err)
	_, err = t.cli.Put(t.ctx, "unknown", "x", clientv3.WithIgnoreLease())
	t.say("ignore lease of an unknown key: %v", err)
	_, err = t.cli.Put(t.ctx, "", "x")
	t.say("empty key: %v", err)
	answer, err := t.cli.Get(t.ctx, "a")
	t.sayGet("at the end", answer, err)
})

var _ = add("kv: every sort order, and the revision filters", func(t *T) {
	for i, key := range []string{"k/c", "k/a", "k/d", "k/b", "k/a", "k/c", "k/e"} {
		t.put(key, fmt.Sprint(9-i))
	}
	targets := []clientv3.SortTarget{clientv3.SortByKey, clientv3.SortByVersion,
		clientv3.SortByCreateRevision, clientv3.SortByModRevision, clientv3.SortByValue}
	for _, target := range targets {
		for _, order := range []clientv3.SortOrder{clientv3.SortNone, clientv3.SortAscend, clientv3.SortDescend} {
			answer, err := t.cli.Get(t.ctx, "k/", clientv3.WithPrefix(), clientv3.WithSort(target, order), clientv3.WithLimit(3))
			t.sayGet(fmt.Sprintf("target %d order %d", target, order), answer, err)
		}
	}
	for name, opts := range map[string][]clientv3.OpOption{
		"first create": clientv3.WithFirstCreate(), "last create": clientv3.WithLastCreate(),
		"first key": clientv3.WithFirstKey(), "last key": clientv3.WithLastKey(),
		"first rev": clientv3.WithFirstRev(), "last rev": clientv3.WithLastRev(),
	} {
		answer, err := t.cli.Get(t.ctx, "k/", opts...)
		t.check(err == nil && len(answer.Kvs) == 1, "%s: %s", name, getText(answer, err))
	}
	answer, err := t.cli.Get(t.ctx, "k/", clientv3.WithPrefix(), clientv3.WithMinModRev(4), clientv3.WithMaxCreateRev(5))
	t.sayGet("filtered", answer, err)
	answer, err = t.cli.Get(t.ctx, "k/b", clientv3.WithFromKey(), clientv3.WithKeysOnly())
	t.sayGet("from key", answer, err)
	answer, err = t.cli.Get(t.ctx, "", clientv3.WithPrefix(), clientv3.WithCountOnly())
	t.sayGet("count of everything", answer, err)
})

var _ = add("kv: pages at one revision while keys change", func(t *T) {
	for i := range 250 {
		t.put(fmt.Sprintf("p/%04d", i), "old")
	}
	start, end := "p/", clientv3.GetPrefixRangeEnd("p/")
	var revision int64
	for page := 0; ; page++ {
		answer, err := t.cli.Get(t.ctx, start, clientv3.WithRange(end), clientv3.WithLimit(40), clientv3.WithRev(revision))
		t.must(err)
		revision = max(revision, answer.Header.Revision*min(1, int64(1-page)))
		last := answer.Kvs[len(answer.Kvs)-1]
		t.say("page %d: %d of %d, more=%t, to %s", page, len(answer.Kvs), answer.Count, answer.More, kvText(last))
		if !answer.More {
			break
		}
		start = string(last.Key) + "\x00"
		t.put(fmt.Sprintf("p/%04d", 249-page), "new")
		_, err = t.cli.Delete(t.ctx, fmt.Sprintf("p/%04d", 200+page))
		t.must(err)
	}
	answer, err := t.cli.Get(t.ctx, "p/", clientv3.WithPrefix(), clientv3.WithCountOnly())
	t.sayGet("now", answer, err)
	answer, err = t.cli.Get(t.ctx, "p/", clientv3.WithRev(100000))
	t.sayGet("future", answer, err)
})

var _ = add("kv: serializable reads", func(t *T) {
	for i := range 20 {
		rev := t.put("s", fmt.Sprint(i))
		answer, err := t.cli.Get(t.ctx, "s", clientv3.WithSerializable())
		t.must(err)
		t.check(answer.Header.Revision <= rev, "from the future")
	}
	answer, err := t.cli.Get(t.ctx, "s")
	t.sayGet("linearizable", answer, err)
	ordered := ordering.NewKV(t.cli.KV, ordering.NewOrderViolationSwitchEndpointClosure(t.cli))
	for range 5 {
		answer, err = ordered.Get(t.ctx, "s", clientv3.WithSerializable())
		t.sayGet("ordered", answer, err)
	}
	_, err = ordered.Txn(t.ctx).Then(clientv3.OpGet("s"), clientv3.OpPut("s", "x")).Commit()
	t.must(err)
})

var _ = add("kv: big values", func(t *T) {
	big := strings.Repeat("v", 1_400_000)
	for i := range 4 {
		t.put(fmt.Sprintf("big/%d", i), big)
	}
	answer, err := t.cli.Get(t.ctx, "big/", clientv3.WithPrefix())
	t.sayGet("5.6 MB in one answer", answer, err)
	for _, size := range []int{1_572_800, 1_572_864, 1_600_000, 2_000_000, 2_200_000} {
		_, err = t.cli.Put(t.ctx, "too big", strings.Repeat("v", size))
		t.say("%d bytes: %v", size, err)
	}
	watch := t.cli.Watch(t.ctx, "big/", clientv3.WithPrefix(), clientv3.WithRev(2), clientv3.WithPrevKV())
	t.sayEvents("replayed", watch, 4)
	deleted, err := t.cli.Delete(t.ctx, "big/", clientv3.WithPrefix(), clientv3.WithPrevKV())
	t.must(err)
	t.say("deleted %d, %d shown", deleted.Deleted, len(deleted.PrevKvs))
	t.sayEvents("deleted", watch, 4)
})

var _ = add("kv: a request size limit of one's own", func(t *T) {
	for _, size := range []int{5_000, 10_500} {
		_, err := t.cli.Put(t.ctx, "k", strings.Repeat("v", size))
		t.say("%d bytes: %v", size, err)
	}
	// Beyond what gRPC takes in at all: each implementation has words of its own.
	_, err := t.cli.Put(t.ctx, "k", strings.Repeat("v", 600_000))
	t.say("600000 bytes: %v", status.Code(err))
}, "--max-request-bytes=10000")

var _ = add("txn: sizes, nesting, duplicates", func(t *T) {
	puts := func(n int) (ops []clientv3.Op) {
		for i := range n {
			ops = append(ops, clientv3.OpPut(fmt.Sprintf("t/%03d", i), "v", clientv3.WithPrevKV()))
		}
		return ops
	}
	for _, n := range []int{0, 1, 128, 129, 128} {
		answer, err := t.cli.Txn(t.ctx).Then(puts(n)...).Commit()
		t.say("%d ops: %s", n, txnText(answer, err))
	}
	answer, err := t.cli.Txn(t.ctx).If(clientv3util.KeyMissing("x")).Then(
		clientv3.OpTxn([]clientv3.Cmp{clientv3util.KeyExists("t/000")},
			[]clientv3.Op{clientv3.OpPut("x", "1"), clientv3.OpGet("x")}, nil),
		clientv3.OpGet("x"), clientv3.OpDelete("t/00", clientv3.WithPrefix(), clientv3.WithPrevKV()),
		clientv3.OpGet("t/00", clientv3.WithPrefix()),
	).Else(clientv3.OpGet("x")).Commit()
	t.say("nested: %s", txnText(answer, err))
	for name, ops := range map[string][]clientv3.Op{
		"twice":           {clientv3.OpPut("d", "1"), clientv3.OpPut("d", "2")},
		"put and deleted": {clientv3.OpPut("d", "1"), clientv3.OpDelete("d")},
	} {
		answer, err = t.cli.Txn(t.ctx).Then(ops...).Commit()
		t.check(err != nil, "%s: %s", name, txnText(answer, err))
	}
	_, err = t.cli.Txn(t.ctx).Then(clientv3.OpPut("d", "1"), clientv3.OpPut("d", "2")).Commit()
	t.say("duplicate: %v", err)
})

var _ = add("txn: every compare", func(t *T) {
	lease, err := t.cli.Grant(t.ctx, 60)
	t.must(err)
	t.put("c/1", "m")
	t.put("c/2", "m", clientv3.WithLease(lease.ID))
	t.put("c/1", "n")
	for _, sign := range []string{"=", "!=", "<", ">"} {
		for name, cmp := range map[string]clientv3.Cmp{
			"value":   clientv3.Compare(clientv3.Value("c/1"), sign, "n"),
			"version": clientv3.Compare(clientv3.Version("c/1"), sign, 1),
			"create":  clientv3.Compare(clientv3.CreateRevision("c/1"), sign, 3),
			"mod":     clientv3.Compare(clientv3.ModRevision("c/1"), sign, 4),
			"lease":   clientv3.Compare(clientv3.LeaseValue("c/2"), sign, lease.ID),
			"prefix":  clientv3.Compare(clientv3.Value("c/"), sign, "m").WithPrefix(),
			"range":   clientv3.Compare(clientv3.Version("c/1"), sign, 0).WithRange("c/3"),
			"missing": clientv3.Compare(clientv3.Value("no"), sign, ""),
			"none":    clientv3.Compare(clientv3.Version("no"), sign, 0),
		} {
			answer, err := t.cli.Txn(t.ctx).If(cmp).Then(clientv3.OpGet("c/1")).Else(clientv3.OpGet("c/2")).Commit()
			t.say("%s %s: %s", name, sign, txnText(answer, err))
		}
	}
	t.sortLines()
})

var _ = add("kv: compaction", func(t *T) {
	for i := range 10 {
		t.put("c", fmt.Sprint(i))
	}
	for _, rev := range []int64{0, 5, 5, 3, 1000, -1} {
		_, err := t.cli.Compact(t.ctx, rev, clientv3.WithCompactPhysical())
		t.say("compact %d: %v", rev, err)
	}
	for _, rev := range []int64{3, 4, 5, 6, 11, 12} {
		answer, err := t.cli.Get(t.ctx, "c", clientv3.WithRev(rev))
		t.sayGet(fmt.Sprintf("at %d", rev), answer, err)
	}
	answer, err := t.cli.Txn(t.ctx).Then(clientv3.OpGet("c", clientv3.WithRev(2))).Commit()
	t.say("txn: %s", txnText(answer, err))
})

var _ = add("stream: GetStream", func(t *T) {
	for i := range 300 {
		t.put(fmt.Sprintf("g/%04d", i), strings.Repeat("v", 20_000))
	}
	chunks, err := t.cli.GetStream(t.ctx, "g/", clientv3.WithPrefix())
	t.must(err)
	answer, err := clientv3.GetStreamToGetResponse(chunks)
	t.must(err)
	t.say("rev=%d count=%d more=%t of %d keys", answer.Header.Revision, answer.Count, answer.More, len(answer.Kvs))
	for i, kv := range answer.Kvs {
		t.check(string(kv.Key) == fmt.Sprintf("g/%04d", i) && len(kv.Value) == 20_000, "chunk %d: %s", i, kvText(kv))
	}
	for name, opts := range map[string][]clientv3.OpOption{
		"limit":     {clientv3.WithPrefix(), clientv3.WithLimit(7)},
		"past":      {clientv3.WithPrefix(), clientv3.WithRev(5)},
		"keys only": {clientv3.WithPrefix(), clientv3.WithKeysOnly(), clientv3.WithLimit(2)},
		"count":     {clientv3.WithPrefix(), clientv3.WithCountOnly()},
		"future":    {clientv3.WithRev(9999)},
		"sorted":    {clientv3.WithPrefix(), clientv3.WithSort(clientv3.SortByValue, clientv3.SortDescend)},
	} {
		chunks, err := t.cli.GetStream(t.ctx, "g/", opts...)
		if err != nil {
			t.say("%s: refused: %v", name, err)
			continue
		}
		answer, err := clientv3.GetStreamToGetResponse(chunks)
		t.say("%s: %s", name, getText(answer, err))
	}
	t.sortLines()
})

var _ = add("kubernetes: the interface of its API server", func(t *T) {
	kube, err := kubernetes.New(func() clientv3.Config { c := t.server.config(); c.Logger = t.cli.GetLogger(); return c }())
	t.must(err)
	defer kube.Close()
	k := kube.Kubernetes
	put, err := k.OptimisticPut(t.ctx, "/registry/pods/a", []byte("1"), 0, kubernetes.PutOptions{})
	t.must(err)
	t.say("create: %+v", put)
	put, err = k.OptimisticPut(t.ctx, "/registry/pods/a", []byte("1"), 0, kubernetes.PutOptions{GetOnFailure: true})
	t.say("create again: %t rev=%d %s %v", put.Succeeded, put.Revision, kvText(put.KV), err)
	put, err = k.OptimisticPut(t.ctx, "/registry/pods/a", []byte("2"), 2, kubernetes.PutOptions{GetOnFailure: true})
	t.say("update: %t rev=%d %s %v", put.Succeeded, put.Revision, kvText(put.KV), err)
	for i := range 30 {
		_, err = k.OptimisticPut(t.ctx, fmt.Sprintf("/registry/pods/p%02d", i), []byte("x"), 0, kubernetes.PutOptions{})
		t.must(err)
	}
	list := kubernetes.ListOptions{Limit: 12}
	for page := 0; ; page++ {
		answer, err := k.List(t.ctx, "/registry/pods/", list)
		t.must(err)
		last := answer.Kvs[len(answer.Kvs)-1]
		t.say("page %d: %d of %d at %d, to %s", page, len(answer.Kvs), answer.Count, answer.Revision, kvText(last))
		if int64(len(answer.Kvs)) == answer.Count {
			break
		}
		list.Continue = string(last.Key) + "\x00"
		if page == 0 {
			list.Revision = answer.Revision
		}
	}
	count, err := k.Count(t.ctx, "/registry/", kubernetes.CountOptions{})
	t.say("count %d %v", count, err)
	got, err := k.Get(t.ctx, "/registry/pods/a", kubernetes.GetOptions{Revision: 2})
	t.say("get: rev=%d %s %v", got.Revision, kvText(got.KV), err)
	got, err = k.Get(t.ctx, "/registry/none", kubernetes.GetOptions{})
	t.say("get: rev=%d %s %v", got.Revision, kvText(got.KV), err)
	del, err := k.OptimisticDelete(t.ctx, "/registry/pods/a", 2, kubernetes.DeleteOptions{GetOnFailure: true})
	t.say("delete: %t rev=%d %s %v", del.Succeeded, del.Revision, kvText(del.KV), err)
	del, err = k.OptimisticDelete(t.ctx, "/registry/pods/a", 3, kubernetes.DeleteOptions{})
	t.say("delete: %t rev=%d %s %v", del.Succeeded, del.Revision, kvText(del.KV), err)
	_, err = t.cli.Compact(t.ctx, 10)
	t.must(err)
	_, err = k.List(t.ctx, "/registry/", kubernetes.ListOptions{Revision: 5})
	t.say("compacted: %v", err)
})

var _ = add("mirror: base and updates", func(t *T) {
	for base := range 20 {
		var ops []clientv3.Op
		for i := range 125 {
			ops = append(ops, clientv3.OpPut(fmt.Sprintf("m/%05d", base*125+i), "v"))
		}
		_, err := t.cli.Txn(t.ctx).Then(ops...).Commit()
		t.must(err)
	}
	t.put("other", "x")
	syncer := mirror.NewSyncer(t.cli, "m/", 0)
	pages, errs := syncer.SyncBase(t.ctx)
	for page := range pages {
		t.say("base: %d of %d at %d, from %s", len(page.Kvs), page.Count, page.Header.Revision, page.Kvs[0].Key)
	}
	t.must(<-errs)
	t.put("m/new", "1")
	_, err := t.cli.Delete(t.ctx, "m/0000", clientv3.WithPrefix())
	t.must(err)
	ctx, cancel := context.WithCancel(t.ctx)
	t.sayEvents("update", syncer.SyncUpdates(ctx), 11)
	cancel()
})

var _ = add("namespace: keys, leases and watches under a prefix", func(t *T) {
	cli := t.client(nil)
	defer cli.Close()
	cli.KV = namespace.NewKV(cli.KV, "ns/")
	cli.Watcher = namespace.NewWatcher(cli.Watcher, "ns/")
	cli.Lease = namespace.NewLease(cli.Lease, "ns/")
	watch := cli.Watch(t.ctx, "", clientv3.WithPrefix(), clientv3.WithPrevKV())
	lease, err := cli.Grant(t.ctx, 60)
	t.must(err)
	_, err = cli.Put(t.ctx, "a", "1", clientv3.WithLease(lease.ID))
	t.must(err)
	t.put("outside", "x")
	answer, err := cli.Txn(t.ctx).If(clientv3.Compare(clientv3.Value("a"), "=", "1")).
		Then(clientv3.OpPut("b", "2"), clientv3.OpGet("", clientv3.WithPrefix()), clientv3.OpTxn(nil, []clientv3.Op{clientv3.OpPut("c", "3")}, nil)).Commit()
	t.say("txn: %s", txnText(answer, err))
	ttl, err := cli.TimeToLive(t.ctx, lease.ID, clientv3.WithAttachedKeys())
	t.must(err)
	t.say("keys of the lease: %q", ttl.Keys)
	_, err = cli.Revoke(t.ctx, lease.ID)
	t.must(err)
	t.sayEvents("watched", watch, 4)
	all, err := t.cli.Get(t.ctx, "", clientv3.WithPrefix())
	t.sayGet("everything", all, err)
})

var _ = add("calls: cancelled and out of time", func(t *T) {
	ctx, cancel := context.WithCancel(t.ctx)
	cancel()
	_, err := t.cli.Put(ctx, "k", "v")
	t.say("cancelled before: %v", err)
	for range 200 {
		ctx, cancel := t.soon(300 * time.Microsecond)
		_, _ = t.cli.Put(ctx, "k", "v")
		cancel()
	}
	answer, err := t.cli.Get(t.ctx, "k")
	t.must(err)
	if len(answer.Kvs) == 1 {
		t.check(answer.Kvs[0].ModRevision == answer.Header.Revision, "revisions moved without changes")
	}
})
