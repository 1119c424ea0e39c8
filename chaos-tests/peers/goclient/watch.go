package main

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc/metadata"
)

var _ = add("watch: options", func(t *T) {
	t.put("w/a", "1")
	t.put("w/b", "2")
	watches := map[string]clientv3.WatchChan{}
	for name, opts := range map[string][]clientv3.OpOption{
		"plain":      {clientv3.WithPrefix()},
		"prev":       {clientv3.WithPrefix(), clientv3.WithPrevKV()},
		"no puts":    {clientv3.WithPrefix(), clientv3.WithFilterPut()},
		"no deletes": {clientv3.WithPrefix(), clientv3.WithFilterDelete()},
		"past":       {clientv3.WithPrefix(), clientv3.WithRev(2), clientv3.WithPrevKV()},
		"future":     {clientv3.WithPrefix(), clientv3.WithRev(6)},
		"from key":   {clientv3.WithFromKey()},
		"range":      {clientv3.WithRange("w/b")},
		"created":    {clientv3.WithPrefix(), clientv3.WithCreatedNotify()},
	} {
		key := "w/"
		if name == "from key" {
			key = "w/b"
		} else if name == "range" {
			key = "w/a"
		}
		watches[name] = t.cli.Watch(t.ctx, key, opts...)
	}
	created := receive(t, "created", watches["created"])
	t.say("created: %t rev=%d", created.Created, created.Header.Revision)
	// All watches share one stream, on which requests are answered in order: once this last one
	// is known to the server, so are the others.
	receive(t, "barrier", t.cli.Watch(t.ctx, "barrier", clientv3.WithCreatedNotify()))
	t.put("w/a", "3")
	_, err := t.cli.Delete(t.ctx, "w/", clientv3.WithPrefix())
	t.must(err)
	answer, err := t.cli.Txn(t.ctx).Then(clientv3.OpPut("w/c", "4"), clientv3.OpPut("w/a", "5"), clientv3.OpDelete("w/b")).Commit()
	t.say("txn: %s", txnText(answer, err))
	t.put("w/a", "end")
	for name, count := range map[string]int{"plain": 6, "prev": 6, "no puts": 2, "no deletes": 4, "past": 8, "future": 1,
		"from key": 2, "range": 4, "created": 6} {
		for i, e := range t.events(name, watches[name], count) {
			t.say("%s %d: %s", name, i, eventText(e))
		}
	}
	t.sortLines()
})

var _ = add("watch: compacted, refused, cancelled", func(t *T) {
	for i := range 10 {
		t.put("c", fmt.Sprint(i))
	}
	_, err := t.cli.Compact(t.ctx, 6)
	t.must(err)
	for _, rev := range []int64{1, 5, 6, 7, -1} {
		answer := receive(t, "start", t.cli.Watch(t.ctx, "c", clientv3.WithRev(rev)))
		t.say("from %d: canceled=%t compacted=%d err=%v events=%d", rev, answer.Canceled, answer.CompactRevision, answer.Err(), min(1, len(answer.Events)))
	}
	answer := receive(t, "empty range", t.cli.Watch(t.ctx, "b", clientv3.WithRange("a")))
	t.say("empty range: canceled=%t err=%v", answer.Canceled, answer.Err())
	ctx, cancel := context.WithCancel(t.ctx)
	watch := t.cli.Watch(ctx, "c", clientv3.WithCreatedNotify())
	receive(t, "created", watch)
	cancel()
	closed(t, "cancelled", watch)
	rev := t.put("c", "after")
	t.sayEvents("another", t.cli.Watch(t.ctx, "c", clientv3.WithRev(rev)), 1)
	cli := t.client(nil)
	watch = cli.Watch(t.ctx, "c")
	cli.Close()
	closed(t, "client closed", watch)
})

var _ = add("watch: progress asked for", func(t *T) {
	rev := t.put("p", "1")
	watch := t.cli.Watch(t.ctx, "p", clientv3.WithRev(rev))
	t.sayEvents("event", watch, 1)
	for i := range 5 {
		t.put("elsewhere", fmt.Sprint(i))
		t.must(t.cli.RequestProgress(t.ctx))
		answer := receive(t, "progress", watch)
		t.say("progress=%t rev=%d events=%d", answer.IsProgressNotify(), answer.Header.Revision, len(answer.Events))
	}
})

var _ = add("watch: progress told by itself", func(t *T) {
	watch := t.cli.Watch(t.ctx, "p", clientv3.WithProgressNotify(), clientv3.WithPrefix())
	rev := t.put("elsewhere", "1")
	for seen := int64(0); seen < rev; {
		answer := receive(t, "progress", watch)
		t.check(answer.IsProgressNotify(), "an event")
		seen = answer.Header.Revision
	}
	rev = t.put("p", "1")
	t.sayEvents("event", watch, 1)
	answer := receive(t, "progress", watch)
	t.say("progress=%t at the event's revision=%t", answer.IsProgressNotify(), answer.Header.Revision == rev)
}, "--watch-progress-notify-interval=200ms")

var _ = add("watch: fragments", func(t *T) {
	var ops []clientv3.Op
	value := strings.Repeat("v", 20_000)
	for i := range 60 {
		ops = append(ops, clientv3.OpPut(fmt.Sprintf("f/%02d", i), value))
	}
	for range 3 {
		_, err := t.cli.Txn(t.ctx).Then(ops...).Commit()
		t.must(err)
	}
	watch := t.cli.Watch(t.ctx, "f/", clientv3.WithPrefix(), clientv3.WithRev(2), clientv3.WithFragment(), clientv3.WithPrevKV())
	t.sayEvents("fragmented", watch, 180)
	_, err := t.cli.Delete(t.ctx, "f/", clientv3.WithPrefix())
	t.must(err)
	t.sayEvents("deleted", watch, 60)
})

var _ = add("watch: 1,000 watchers on one stream", func(t *T) {
	const watchers, rounds = 1000, 5
	var all sync.WaitGroup
	ctx, cancel := context.WithCancel(t.ctx)
	defer cancel()
	ready := make(chan struct{}, watchers)
	wrong := make(chan string, watchers)
	for i := range watchers {
		watch := t.cli.Watch(ctx, fmt.Sprintf("n/%d", i%50), clientv3.WithCreatedNotify())
		all.Go(func() {
			<-watch
			ready <- struct{}{}
			for round := 0; round < rounds; {
				answer, open := <-watch
				if !open || answer.Err() != nil {
					wrong <- fmt.Sprintf("watcher %d ended in round %d", i, round)
					return
				}
				for _, e := range answer.Events {
					if string(e.Kv.Value) != fmt.Sprint(round) || string(e.Kv.Key) != fmt.Sprintf("n/%d", i%50) {
						wrong <- fmt.Sprintf("watcher %d, round %d: %s", i, round, eventText(e))
						return
					}
					round++
				}
			}
		})
	}
	for range watchers {
		receive(t, "created", ready)
	}
	for round := range rounds {
		for key := range 50 {
			t.put(fmt.Sprintf("n/%d", key), fmt.Sprint(round))
		}
	}
	all.Wait()
	close(wrong)
	for what := range wrong {
		t.say("%s", what)
	}
	t.say("done")
})

var _ = add("watch: streams of their own, with and without a leader required", func(t *T) {
	var watches []clientv3.WatchChan
	for i := range 50 {
		// The client keeps a stream for each distinct set of metadata.
		ctx := metadata.NewOutgoingContext(t.ctx, metadata.Pairs("stream", fmt.Sprint(i)))
		if i%2 == 0 {
			ctx = clientv3.WithRequireLeader(ctx)
		}
		watches = append(watches, t.cli.Watch(ctx, "k", clientv3.WithRev(2)))
	}
	t.put("k", "1")
	t.put("k", "2")
	for i, watch := range watches {
		t.sayEvents(fmt.Sprint(i), watch, 2)
	}
	answer, err := t.cli.Get(clientv3.WithRequireLeader(t.ctx), "k")
	t.sayGet("get", answer, err)
})

var _ = add("watch: a slow reader, and others beside it", func(t *T) {
	slow := t.cli.Watch(t.ctx, "k", clientv3.WithRev(2))
	other := t.client(nil)
	defer other.Close()
	quick := other.Watch(t.ctx, "k", clientv3.WithRev(2))
	value := strings.Repeat("v", 100_000)
	begun := time.Now()
	for range 200 {
		rev := t.put("k", value)
		e := t.events("quick", quick, 1)
		t.check(e[0].Kv.ModRevision == rev, "out of order: %s", eventText(e[0]))
	}
	t.check(time.Since(begun) < 60*time.Second, "delayed by the slow one")
	for i, e := range t.events("slow", slow, 200) {
		t.check(e.Kv.ModRevision == int64(i+2), "lost one: %s", eventText(e))
	}
	t.say("done")
})
