// Goclient plays what programs do with etcd's own Go client against two servers, a real etcd and
// skein-store, and compares what the client reports, line by line.
//
// Both start empty for every scenario, so that revisions can be compared as they are. What
// differs by nature (ids of leases, addresses, times) is never part of a transcript.
package main

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"sync"
)

// Scenarios at work at the same time. Most of their time goes into waiting for leases.
const workers = 4

func main() {
	etcd := flag.String("etcd", "", "program of the etcd to compare with")
	skein := flag.String("skein", "", "program of the skein-store to test")
	filter := flag.String("run", "", "only scenarios whose name contains this")
	verbose := flag.Bool("v", false, "print the transcripts")
	flag.Parse()
	if *etcd == "" || *skein == "" {
		fmt.Fprintln(os.Stderr, "goclient: -etcd and -skein must name programs")
		os.Exit(2)
	}
	failed := 0
	for _, outcome := range playAll(*etcd, *skein, *filter) {
		fmt.Print(outcome.render(*verbose))
		if !outcome.equal() {
			failed++
		}
	}
	if failed > 0 {
		fmt.Printf("\n%d FAILED\n", failed)
		os.Exit(1)
	}
}

// outcome is what one scenario yielded on each server.
type outcome struct {
	name        string
	etcd, skein transcript
}

func playAll(etcd, skein, filter string) []outcome {
	var chosen []scenario
	for _, s := range scenarios {
		if strings.Contains(s.name, filter) {
			chosen = append(chosen, s)
		}
	}
	outcomes := make([]outcome, len(chosen))
	slots := make(chan struct{}, workers)
	var all sync.WaitGroup
	for i, s := range chosen {
		all.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			outcomes[i] = outcome{s.name, play(etcd, s), play(skein, s)}
		})
	}
	all.Wait()
	return outcomes
}

func (o outcome) equal() bool {
	return o.etcd.failure == "" && o.skein.failure == "" && o.etcd.text() == o.skein.text()
}

func (o outcome) render(verbose bool) string {
	var out strings.Builder
	if o.equal() {
		fmt.Fprintf(&out, "  equal      %s (%d lines)\n", o.name, len(o.skein.lines))
		if verbose {
			fmt.Fprintf(&out, "%s\n", o.skein.text())
		}
		return out.String()
	}
	fmt.Fprintf(&out, "  FAILED     %s\n", o.name)
	for _, side := range []struct {
		name string
		transcript
	}{{"etcd", o.etcd}, {"skein", o.skein}} {
		if side.failure != "" {
			fmt.Fprintf(&out, "    %s: %s\n", side.name, side.failure)
		}
	}
	out.WriteString(difference(o.etcd.lines, o.skein.lines))
	return out.String()
}

// difference shows where two transcripts part, with a little of what comes behind.
func difference(expected, found []string) string {
	const shown = 6
	at := 0
	for at < len(expected) && at < len(found) && expected[at] == found[at] {
		at++
	}
	var out strings.Builder
	for _, line := range expected[at:min(at+shown, len(expected))] {
		fmt.Fprintf(&out, "    - %s\n", line)
	}
	for _, line := range found[at:min(at+shown, len(found))] {
		fmt.Fprintf(&out, "    + %s\n", line)
	}
	return out.String()
}
