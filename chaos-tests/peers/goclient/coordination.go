package main

import (
	"context"
	"fmt"
	"sort"
	"strings"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/concurrency"
	recipe "go.etcd.io/etcd/client/v3/experimental/recipes"
	"go.etcd.io/etcd/client/v3/leasing"
	"go.etcd.io/etcd/client/v3/naming/endpoints"
)

func (t *T) session(opts ...concurrency.SessionOption) *concurrency.Session {
	session, err := concurrency.NewSession(t.cli, opts...)
	t.must(err)
	return session
}

var _ = add("concurrency: mutex", func(t *T) {
	one, two := t.session(concurrency.WithTTL(10)), t.session(concurrency.WithTTL(10))
	first, second := concurrency.NewMutex(one, "lock"), concurrency.NewMutex(two, "lock")
	t.must(first.Lock(t.ctx))
	t.say("held at %d", first.Header().Revision)
	t.say("try: %v", second.TryLock(t.ctx))
	ctx, cancel := t.soon(300 * time.Millisecond)
	t.say("wait: %v", second.Lock(ctx))
	cancel()
	locked := make(chan error, 1)
	go func() { locked <- second.Lock(t.ctx) }()
	time.Sleep(200 * time.Millisecond)
	answer, err := t.cli.Txn(t.ctx).If(first.IsOwner()).Then(clientv3.OpPut("guarded", "1")).Commit()
	t.say("owner: %s", txnText(answer, err))
	t.must(first.Unlock(t.ctx))
	t.must(receive(t, "second", locked))
	t.say("unlocked twice: %v", first.Unlock(t.ctx))
	t.must(two.Close())
	left, err := t.cli.Get(t.ctx, "lock", clientv3.WithPrefix())
	t.sayGet("left", left, err)
	t.say("closed session: %v", second.Lock(t.ctx))
	t.must(one.Close())
})

var _ = add("concurrency: a lock is inherited when its holder dies", func(t *T) {
	dead := t.session(concurrency.WithTTL(2))
	t.must(concurrency.NewMutex(dead, "lock").Lock(t.ctx))
	dead.Orphan()
	heir := t.session(concurrency.WithTTL(10))
	begun := time.Now()
	t.must(concurrency.NewMutex(heir, "lock").Lock(t.ctx))
	t.check(time.Since(begun) > time.Second && time.Since(begun) < 15*time.Second, "after %v", time.Since(begun))
	t.must(heir.Close())
})

var _ = add("concurrency: 12 goroutines, one lock", func(t *T) {
	var all sync.WaitGroup
	counter, inside := 0, 0
	errs := make(chan error, 12)
	for range 12 {
		all.Go(func() {
			session, err := concurrency.NewSession(t.cli)
			if err != nil {
				errs <- err
				return
			}
			defer session.Close()
			mutex := concurrency.NewMutex(session, "lock")
			for range 5 {
				if err := mutex.Lock(t.ctx); err != nil {
					errs <- err
					return
				}
				// Unsynchronized on purpose but for the lock under test.
				if inside++; inside != 1 {
					errs <- fmt.Errorf("%d inside", inside)
				}
				counter++
				inside--
				if err := mutex.Unlock(t.ctx); err != nil {
					errs <- err
				}
			}
		})
	}
	all.Wait()
	close(errs)
	for err := range errs {
		t.must(err)
	}
	t.say("%d", counter)
})

var _ = add("concurrency: election", func(t *T) {
	one, two := t.session(), t.session()
	first, second := concurrency.NewElection(one, "e"), concurrency.NewElection(two, "e")
	_, err := first.Leader(t.ctx)
	t.say("nobody yet: %v", err)
	ctx, cancel := context.WithCancel(t.ctx)
	observed := second.Observe(ctx)
	t.must(first.Campaign(t.ctx, "a"))
	t.say("observed %s", receive(t, "observe", observed).Kvs[0].Value)
	won := make(chan error, 1)
	go func() { won <- second.Campaign(t.ctx, "b") }()
	t.must(first.Proclaim(t.ctx, "a2"))
	t.say("observed %s", receive(t, "observe", observed).Kvs[0].Value)
	leader, err := second.Leader(t.ctx)
	t.must(err)
	t.say("leader %s version=%d", leader.Kvs[0].Value, leader.Kvs[0].Version)
	resumed := concurrency.ResumeElection(one, "e", first.Key(), first.Rev())
	t.must(resumed.Proclaim(t.ctx, "a3"))
	t.say("observed %s", receive(t, "observe", observed).Kvs[0].Value)
	t.must(first.Resign(t.ctx))
	t.must(receive(t, "second", won))
	t.say("observed %s", receive(t, "observe", observed).Kvs[0].Value)
	t.say("not leader: %v", resumed.Proclaim(t.ctx, "late"))
	cancel()
	closed(t, "observe", observed)
	t.must(two.Close())
	_, err = first.Leader(t.ctx)
	t.say("nobody again: %v", err)
})

var _ = add("concurrency: software transactional memory, four isolations", func(t *T) {
	for _, level := range []concurrency.Isolation{concurrency.SerializableSnapshot, concurrency.Serializable,
		concurrency.RepeatableReads, concurrency.ReadCommitted} {
		for i := range 5 {
			t.put(fmt.Sprintf("acc/%d", i), "100")
		}
		workers := 6
		if level == concurrency.ReadCommitted {
			// Concurrent transfers may be lost at this level, by its nature.
			workers = 1
		}
		var all sync.WaitGroup
		errs := make(chan error, workers)
		for w := range workers {
			all.Go(func() {
				for n := range 15 {
					if err := t.transfer(level, (w+n)%5, (w*2+n+1)%5); err != nil {
						errs <- err
						return
					}
				}
			})
		}
		all.Wait()
		close(errs)
		for err := range errs {
			t.must(err)
		}
		answer, err := t.cli.Get(t.ctx, "acc/", clientv3.WithPrefix())
		t.must(err)
		sum := 0
		for _, kv := range answer.Kvs {
			var amount int
			fmt.Sscan(string(kv.Value), &amount)
			sum += amount
		}
		t.say("isolation %d: sum %d", level, sum)
	}
})

func (t *T) transfer(level concurrency.Isolation, from, to int) error {
	if from == to {
		return nil
	}
	source, target := fmt.Sprintf("acc/%d", from), fmt.Sprintf("acc/%d", to)
	_, err := concurrency.NewSTM(t.cli, func(s concurrency.STM) error {
		var a, b int
		fmt.Sscan(s.Get(source), &a)
		fmt.Sscan(s.Get(target), &b)
		s.Put(source, fmt.Sprint(a-1))
		s.Put(target, fmt.Sprint(b+1))
		return nil
	}, concurrency.WithIsolation(level), concurrency.WithAbortContext(t.ctx), concurrency.WithPrefetch(source, target))
	return err
}

var _ = add("leasing: two caches over one store", func(t *T) {
	one, closeOne, err := leasing.NewKV(t.cli, "leases/")
	t.must(err)
	other := t.client(nil)
	defer other.Close()
	two, closeTwo, err := leasing.NewKV(other, "leases/")
	t.must(err)
	defer closeTwo()
	_, err = one.Put(t.ctx, "a", "1")
	t.must(err)
	value := func(kv clientv3.KV, key string) string {
		answer, err := kv.Get(t.ctx, key)
		t.must(err)
		if len(answer.Kvs) == 0 {
			return "nothing"
		}
		return string(answer.Kvs[0].Value)
	}
	t.say("first %s, again %s, other %s", value(one, "a"), value(one, "a"), value(two, "a"))
	_, err = two.Put(t.ctx, "a", "2")
	t.must(err)
	t.say("first %s, other %s", value(one, "a"), value(two, "a"))
	answer, err := two.Txn(t.ctx).If(clientv3.Compare(clientv3.Value("a"), "=", "2")).
		Then(clientv3.OpPut("a", "3"), clientv3.OpPut("b", "4"), clientv3.OpGet("a")).Commit()
	t.must(err)
	t.say("txn ok=%t of %d", answer.Succeeded, len(answer.Responses))
	t.say("first %s %s, other %s %s", value(one, "a"), value(one, "b"), value(two, "a"), value(two, "b"))
	deleted, err := two.Delete(t.ctx, "a", clientv3.WithRange("c"))
	t.must(err)
	t.say("deleted %d, first %s, other %s", deleted.Deleted, value(one, "a"), value(two, "b"))
	closeOne()
	_, err = two.Put(t.ctx, "a", "5")
	t.must(err)
	t.say("after one is closed: %s", value(two, "a"))
})

var _ = add("recipes: barrier, queues, read-write lock", func(t *T) {
	barrier := recipe.NewBarrier(t.cli, "barrier")
	t.must(barrier.Hold())
	released := make(chan error, 3)
	for range 3 {
		go func() { released <- recipe.NewBarrier(t.cli, "barrier").Wait() }()
	}
	time.Sleep(200 * time.Millisecond)
	t.check(len(released) == 0, "not held")
	t.must(barrier.Release())
	for range 3 {
		t.must(receive(t, "barrier", released))
	}
	queue := recipe.NewQueue(t.cli, "queue")
	ranked := recipe.NewPriorityQueue(t.cli, "ranked")
	for i := range 5 {
		t.must(queue.Enqueue(fmt.Sprint(i)))
		t.must(ranked.Enqueue(fmt.Sprint(i), uint16(9-i)))
	}
	for range 5 {
		a, err := queue.Dequeue()
		t.must(err)
		b, err := ranked.Dequeue()
		t.must(err)
		t.say("queue %s, by rank %s", a, b)
	}
	one, two := t.session(), t.session()
	reader, writer := recipe.NewRWMutex(one, "rw"), recipe.NewRWMutex(two, "rw")
	t.must(reader.RLock())
	locked := make(chan error, 1)
	go func() { locked <- writer.Lock() }()
	time.Sleep(200 * time.Millisecond)
	t.check(len(locked) == 0, "written while read")
	t.must(reader.RUnlock())
	t.must(receive(t, "writer", locked))
	t.must(writer.Unlock())
	entered := make(chan error, 2)
	for _, session := range []*concurrency.Session{one, two} {
		go func() {
			double := recipe.NewDoubleBarrier(session, "double", 2)
			if err := double.Enter(); err != nil {
				entered <- err
				return
			}
			entered <- double.Leave()
		}()
	}
	t.must(receive(t, "double barrier", entered))
	t.must(receive(t, "double barrier", entered))
	t.say("done")
})

var _ = add("naming: endpoints", func(t *T) {
	manager, err := endpoints.NewManager(t.cli, "service")
	t.must(err)
	t.must(manager.AddEndpoint(t.ctx, "service/a", endpoints.Endpoint{Addr: "10.0.0.1:80", Metadata: "one"}))
	updates, err := manager.NewWatchChannel(t.ctx)
	t.must(err)
	t.say("first: %d", len(receive(t, "updates", updates)))
	t.must(manager.Update(t.ctx, []*endpoints.UpdateWithOpts{
		endpoints.NewAddUpdateOpts("service/b", endpoints.Endpoint{Addr: "10.0.0.2:80"}),
		endpoints.NewDeleteUpdateOpts("service/a"),
	}))
	for _, update := range receive(t, "updates", updates) {
		t.say("%v %s %s", update.Op, update.Key, update.Endpoint.Addr)
	}
	list, err := manager.List(t.ctx)
	t.must(err)
	var keys []string
	for key, endpoint := range list {
		keys = append(keys, key+"="+endpoint.Addr)
	}
	sort.Strings(keys)
	t.say("list: %s", strings.Join(keys, " "))
})
