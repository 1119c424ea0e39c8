package main

import (
	"context"
	"fmt"
	"sort"
	"strings"
	"sync"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
)

// How long one scenario may take on one server.
const scenarioTime = 90 * time.Second

type scenario struct {
	name  string
	flags []string
	play  func(t *T)
}

var scenarios []scenario

// add puts a scenario on the list; flags are given to the server besides its addresses.
func add(name string, play func(t *T), flags ...string) bool {
	scenarios = append(scenarios, scenario{name, flags, play})
	return true
}

// transcript is what a scenario reported, and why it broke off if it did.
type transcript struct {
	lines   []string
	failure string
}

func (t transcript) text() string { return strings.Join(t.lines, "\n") }

// T is a scenario at work on one server.
type T struct {
	ctx    context.Context
	server *server
	cli    *clientv3.Client

	mu    sync.Mutex
	lines []string
}

// broken ends a scenario from wherever it is.
type broken struct{ why string }

func play(program string, s scenario) (result transcript) {
	ctx, cancel := context.WithTimeout(context.Background(), scenarioTime)
	defer cancel()
	t := &T{ctx: ctx}
	defer func() {
		if why := recover(); why != nil {
			b, expected := why.(broken)
			if !expected {
				panic(why)
			}
			result.failure = b.why
		}
		if t.cli != nil {
			t.cli.Close()
		}
		if t.server != nil {
			if result.failure != "" {
				result.failure += "\n" + t.server.logTail()
			}
			t.server.remove()
		}
		t.mu.Lock()
		defer t.mu.Unlock()
		result.lines = t.lines
	}()
	var err error
	t.server, err = newServer(program, s.flags)
	t.must(err)
	t.must(t.server.start())
	t.cli = t.client(nil)
	s.play(t)
	return result
}

// say adds a line to the transcript.
func (t *T) say(format string, args ...any) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.lines = append(t.lines, fmt.Sprintf(format, args...))
}

// must ends the scenario on an error that is not part of it.
func (t *T) must(err error) {
	if err != nil {
		panic(broken{err.Error()})
	}
}

// check ends the scenario unless ok.
func (t *T) check(ok bool, format string, args ...any) {
	if !ok {
		panic(broken{fmt.Sprintf(format, args...)})
	}
}

// client connects once more; change may alter the settings.
func (t *T) client(change func(*clientv3.Config)) *clientv3.Client {
	config := t.server.config()
	config.Logger = zap.NewNop()
	if change != nil {
		change(&config)
	}
	cli, err := clientv3.New(config)
	t.must(err)
	return cli
}

// soon gives a call that is to fail, or to come to nothing, its time.
func (t *T) soon(d time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeout(t.ctx, d)
}

func (t *T) put(key, value string, opts ...clientv3.OpOption) int64 {
	answer, err := t.cli.Put(t.ctx, key, value, opts...)
	t.must(err)
	return answer.Header.Revision
}

// receive takes the next value of a channel, or ends the scenario.
func receive[V any](t *T, what string, from <-chan V) V {
	select {
	case v, open := <-from:
		t.check(open, "%s: the channel is closed", what)
		return v
	case <-time.After(20 * time.Second):
		panic(broken{what + ": nothing came"})
	}
}

// closed waits until a channel is closed, passing over what it still yields.
func closed[V any](t *T, what string, from <-chan V) {
	deadline := time.After(20 * time.Second)
	for {
		select {
		case _, open := <-from:
			if !open {
				return
			}
		case <-deadline:
			panic(broken{what + ": the channel is not closed"})
		}
	}
}

func kvText(kv *mvccpb.KeyValue) string {
	if kv == nil {
		return "nothing"
	}
	value := string(kv.Value)
	if len(value) > 40 {
		value = fmt.Sprintf("%d bytes", len(value))
	}
	return fmt.Sprintf("%s=%q create=%d mod=%d version=%d leased=%t",
		kv.Key, value, kv.CreateRevision, kv.ModRevision, kv.Version, kv.Lease != 0)
}

func getText(answer *clientv3.GetResponse, err error) string {
	if err != nil {
		return "error: " + err.Error()
	}
	var out strings.Builder
	fmt.Fprintf(&out, "rev=%d count=%d more=%t", answer.Header.Revision, answer.Count, answer.More)
	for _, kv := range answer.Kvs {
		out.WriteString(" | " + kvText(kv))
	}
	return out.String()
}

func (t *T) sayGet(what string, answer *clientv3.GetResponse, err error) {
	t.say("%s: %s", what, getText(answer, err))
}

func eventText(e *clientv3.Event) string {
	text := e.Type.String() + " " + kvText(e.Kv)
	if e.PrevKv != nil {
		text += " before " + kvText(e.PrevKv)
	}
	return text
}

// events takes events off a watch until there are count of them.
func (t *T) events(what string, watch clientv3.WatchChan, count int) []*clientv3.Event {
	var all []*clientv3.Event
	for len(all) < count {
		answer := receive(t, what, watch)
		t.check(answer.Err() == nil, "%s: %v", what, answer.Err())
		all = append(all, answer.Events...)
	}
	return all
}

func (t *T) sayEvents(what string, watch clientv3.WatchChan, count int) {
	for _, e := range t.events(what, watch, count) {
		t.say("%s: %s", what, eventText(e))
	}
}

func txnText(answer *clientv3.TxnResponse, err error) string {
	if err != nil {
		return "error: " + err.Error()
	}
	var out strings.Builder
	fmt.Fprintf(&out, "rev=%d ok=%t", answer.Header.Revision, answer.Succeeded)
	for _, op := range answer.Responses {
		switch {
		case op.GetResponsePut() != nil:
			fmt.Fprintf(&out, " [put prev=%s]", kvText(op.GetResponsePut().PrevKv))
		case op.GetResponseRange() != nil:
			out.WriteString(" [get")
			for _, kv := range op.GetResponseRange().Kvs {
				out.WriteString(" " + kvText(kv))
			}
			out.WriteString("]")
		case op.GetResponseDeleteRange() != nil:
			answer := op.GetResponseDeleteRange()
			fmt.Fprintf(&out, " [delete %d prev=%d]", answer.Deleted, len(answer.PrevKvs))
		case op.GetResponseTxn() != nil:
			nested := (*clientv3.TxnResponse)(op.GetResponseTxn())
			fmt.Fprintf(&out, " [txn ok=%t of %d]", nested.Succeeded, len(nested.Responses))
		}
	}
	return out.String()
}

// sortLines is for transcripts whose order is not the scenario's to say.
func (t *T) sortLines() {
	t.mu.Lock()
	defer t.mu.Unlock()
	sort.Strings(t.lines)
}
