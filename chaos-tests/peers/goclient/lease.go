package main

import (
	"context"
	"errors"
	"sort"
	"strings"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

var _ = add("lease: its five calls", func(t *T) {
	lease, err := t.cli.Grant(t.ctx, 30)
	t.must(err)
	t.say("granted: ttl=%d", lease.TTL)
	short, err := t.cli.Grant(t.ctx, 1)
	t.must(err)
	t.say("shortest: ttl=%d", short.TTL)
	for _, ttl := range []int64{0, -1, 9_000_000_000, 9_000_000_001} {
		answer, err := t.cli.Grant(t.ctx, ttl)
		if err != nil {
			t.say("ttl %d: %v", ttl, err)
		} else {
			t.say("ttl %d: %d", ttl, answer.TTL)
		}
	}
	for _, key := range []string{"l/b", "l/a", "l/c"} {
		t.put(key, "v", clientv3.WithLease(lease.ID))
	}
	ttl, err := t.cli.TimeToLive(t.ctx, lease.ID, clientv3.WithAttachedKeys())
	t.must(err)
	var keys []string
	for _, key := range ttl.Keys {
		keys = append(keys, string(key))
	}
	sort.Strings(keys)
	t.say("ttl: granted=%d left=%t keys=%s", ttl.GrantedTTL, ttl.TTL > 25 && ttl.TTL <= 30, strings.Join(keys, ","))
	alive, err := t.cli.KeepAliveOnce(t.ctx, lease.ID)
	t.must(err)
	t.say("kept alive: ttl=%d", alive.TTL)
	all, err := t.cli.Leases(t.ctx)
	t.must(err)
	t.say("leases: %t", len(all.Leases) >= 2)
	watch := t.cli.Watch(t.ctx, "l/", clientv3.WithPrefix(), clientv3.WithRev(5))
	_, err = t.cli.Revoke(t.ctx, lease.ID)
	t.must(err)
	t.sayEvents("revoked", watch, 3)
	_, err = t.cli.Revoke(t.ctx, lease.ID)
	t.say("revoked again: %v", err)
	_, err = t.cli.KeepAliveOnce(t.ctx, lease.ID)
	t.say("kept alive again: %v", err)
	gone, err := t.cli.TimeToLive(t.ctx, lease.ID)
	t.must(err)
	t.say("ttl: %d of %d", gone.TTL, gone.GrantedTTL)
	_, err = t.cli.Put(t.ctx, "k", "v", clientv3.WithLease(lease.ID))
	t.say("put: %v", err)
})

var _ = add("lease: kept alive past its time, then let go", func(t *T) {
	lease, err := t.cli.Grant(t.ctx, 2)
	t.must(err)
	rev := t.put("k", "v", clientv3.WithLease(lease.ID))
	ctx, cancel := context.WithCancel(t.ctx)
	alive, err := t.cli.KeepAlive(ctx, lease.ID)
	t.must(err)
	for end := time.Now().Add(5 * time.Second); time.Now().Before(end); {
		answer := receive(t, "alive", alive)
		t.check(answer.TTL == 2 && answer.ID == lease.ID, "ttl %d", answer.TTL)
	}
	answer, err := t.cli.Get(t.ctx, "k")
	t.sayGet("kept", answer, err)
	cancel()
	closed(t, "keep alive", alive)
	begun := time.Now()
	t.sayEvents("expired", t.cli.Watch(t.ctx, "k", clientv3.WithRev(rev+1)), 1)
	t.check(time.Since(begun) > 500*time.Millisecond, "it expired early, after %v", time.Since(begun))
	again, err := t.cli.KeepAlive(t.ctx, lease.ID)
	t.must(err)
	closed(t, "keep alive of what is gone", again)
})

var _ = add("lease: many kept alive on one stream", func(t *T) {
	const leases = 200
	var chans []<-chan *clientv3.LeaseKeepAliveResponse
	for range leases {
		lease, err := t.cli.Grant(t.ctx, 3)
		t.must(err)
		t.put("m/"+string(rune('a'+len(chans)%26)), "v", clientv3.WithLease(lease.ID))
		alive, err := t.cli.KeepAlive(t.ctx, lease.ID)
		t.must(err)
		chans = append(chans, alive)
	}
	end := time.Now().Add(7 * time.Second)
	for time.Now().Before(end) {
		for _, alive := range chans {
			receive(t, "alive", alive)
		}
	}
	all, err := t.cli.Leases(t.ctx)
	t.must(err)
	t.say("leases: %d", len(all.Leases))
	answer, err := t.cli.Get(t.ctx, "m/", clientv3.WithPrefix())
	t.sayGet("keys", answer, err)
})

var _ = add("restart: a lease kept alive over a kill -9", func(t *T) {
	lease, err := t.cli.Grant(t.ctx, 6)
	t.must(err)
	left, err := t.cli.Grant(t.ctx, 3)
	t.must(err)
	t.put("kept", "v", clientv3.WithLease(lease.ID))
	t.put("left", "v", clientv3.WithLease(left.ID))
	alive, err := t.cli.KeepAlive(t.ctx, lease.ID)
	t.must(err)
	receive(t, "alive", alive)
	t.server.kill()
	time.Sleep(time.Second)
	t.must(t.server.start())
	for end := time.Now().Add(8 * time.Second); time.Now().Before(end); {
		receive(t, "alive", alive)
	}
	answer, err := t.cli.Get(t.ctx, "kept")
	t.sayGet("kept", answer, err)
	answer, err = t.cli.Get(t.ctx, "left")
	t.sayGet("left", answer, err)
})

// writeThrough puts keys until stopped, and returns how many puts were acknowledged.
func (t *T) writeThrough(stop <-chan struct{}) (sure int) {
	for n := 0; ; n++ {
		select {
		case <-stop:
			return sure
		default:
		}
		ctx, cancel := t.soon(2 * time.Second)
		_, err := t.cli.Put(ctx, "r/"+string(rune('a'+n%7)), "v")
		cancel()
		if err == nil {
			sure++
		}
	}
}

var _ = add("restart: watches resume over kill -9, none lost, none twice", func(t *T) {
	const watchers = 20
	ctx, cancel := context.WithCancel(t.ctx)
	defer cancel()
	seen := make([][]int64, watchers)
	target := make([]chan int64, watchers)
	failures := make(chan error, watchers)
	for i := range watchers {
		target[i] = make(chan int64, 1)
		watch := t.cli.Watch(ctx, "r/", clientv3.WithPrefix(), clientv3.WithRev(2), clientv3.WithProgressNotify())
		go func() { failures <- follow(watch, &seen[i], target[i]) }()
	}
	stop, done := make(chan struct{}), make(chan int, 1)
	go func() { done <- t.writeThrough(stop) }()
	for range 3 {
		time.Sleep(700 * time.Millisecond)
		t.server.kill()
		t.must(t.server.start())
	}
	time.Sleep(500 * time.Millisecond)
	close(stop)
	sure := receive(t, "writer", done)
	end := t.put("r/end", "v")
	for i := range watchers {
		target[i] <- end
	}
	for range watchers {
		t.must(receive(t, "watcher", failures))
	}
	t.check(sure > 50 && end-1 >= int64(sure)+1, "%d sure changes, the last at %d", sure, end)
	for i, revisions := range seen {
		for at, revision := range revisions {
			t.check(revision == int64(at)+2, "watcher %d: event %d is of revision %d", i, at, revision)
		}
		t.check(int64(len(revisions)) == end-1, "watcher %d: %d events up to revision %d", i, len(revisions), end)
	}
	t.say("every change once, in order")
})

// follow notes the revision of each event until it has that which target names in the end.
func follow(watch clientv3.WatchChan, seen *[]int64, target <-chan int64) error {
	end := int64(0)
	for {
		if n := len(*seen); end > 0 && n > 0 && (*seen)[n-1] >= end {
			return nil
		}
		select {
		case end = <-target:
		case answer, open := <-watch:
			if !open {
				return errors.New("the watch is closed")
			}
			if err := answer.Err(); err != nil {
				return err
			}
			for _, e := range answer.Events {
				*seen = append(*seen, e.Kv.ModRevision)
			}
		}
	}
}

var _ = add("restart: nothing acknowledged is lost", func(t *T) {
	last := map[string]int64{}
	for round := range 4 {
		for i := range 50 {
			key := "d/" + string(rune('a'+i%5))
			last[key] = t.put(key, "v")
		}
		t.server.kill()
		t.must(t.server.start())
		for key, rev := range last {
			answer, err := t.cli.Get(t.ctx, key)
			t.must(err)
			t.check(answer.Kvs[0].ModRevision == rev, "round %d: %s at %d", round, kvText(answer.Kvs[0]), rev)
		}
	}
	answer, err := t.cli.Get(t.ctx, "d/", clientv3.WithPrefix())
	t.sayGet("at the end", answer, err)
	answer, err = t.cli.Get(t.ctx, "d/", clientv3.WithPrefix(), clientv3.WithRev(60))
	t.sayGet("past", answer, err)
})
