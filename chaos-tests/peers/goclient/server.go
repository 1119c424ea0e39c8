package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
)

// How long a server may take from its start to its first answer, on a loaded machine.
const readyTime = 40 * time.Second

// Below the ports that the kernel gives to clients, so that no connection of ours holds one.
const firstPort, lastPort = 12000, 20000

var ports struct {
	sync.Mutex
	next int
}

// server is a process on a directory and ports of its own, which it keeps over restarts.
type server struct {
	program string
	flags   []string
	dir     string
	client  int
	peer    int
	tls     *authority
	process *exec.Cmd
}

func newServer(program string, flags []string) (*server, error) {
	dir, err := os.MkdirTemp("", "skein-goclient-")
	if err != nil {
		return nil, err
	}
	s := &server{program: program, flags: flags, dir: dir}
	if s.client, err = freePort(); err == nil {
		s.peer, err = freePort()
	}
	return s, err
}

func freePort() (int, error) {
	ports.Lock()
	defer ports.Unlock()
	if ports.next == 0 {
		ports.next = firstPort + os.Getpid()*37%(lastPort-firstPort)
	}
	for range lastPort - firstPort {
		ports.next++
		if ports.next >= lastPort {
			ports.next = firstPort
		}
		socket, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", ports.next))
		if err == nil {
			return ports.next, socket.Close()
		}
	}
	return 0, fmt.Errorf("no free port from %d to %d", firstPort, lastPort)
}

func (s *server) url() string {
	scheme := "http"
	if s.tls != nil {
		scheme = "https"
	}
	return fmt.Sprintf("%s://127.0.0.1:%d", scheme, s.client)
}

func (s *server) config() clientv3.Config {
	config := clientv3.Config{Endpoints: []string{s.url()}, DialTimeout: readyTime}
	if s.tls != nil {
		config.TLS = s.tls.client()
	}
	return config
}

func (s *server) start() error {
	log, err := os.OpenFile(filepath.Join(s.dir, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	peer := fmt.Sprintf("http://127.0.0.1:%d", s.peer)
	args := append([]string{
		"--name=default", "--data-dir=" + filepath.Join(s.dir, "data"),
		"--listen-client-urls=" + s.url(), "--advertise-client-urls=" + s.url(),
		"--listen-peer-urls=" + peer, "--initial-advertise-peer-urls=" + peer,
		"--initial-cluster=default=" + peer,
	}, s.flags...)
	if s.tls != nil {
		args = append(args, s.tls.flags()...)
	}
	s.process = exec.Command(s.program, args...)
	s.process.Stdout, s.process.Stderr = log, log
	if err := s.process.Start(); err != nil {
		return err
	}
	return s.ready()
}

// ready waits for the first linearizable answer.
func (s *server) ready() error {
	config := s.config()
	config.Logger = zap.NewNop()
	cli, err := clientv3.New(config)
	if err != nil {
		return err
	}
	defer cli.Close()
	deadline := time.Now().Add(readyTime)
	for time.Now().Before(deadline) {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		_, err = cli.Get(ctx, "nothing")
		cancel()
		if err == nil {
			return nil
		}
		time.Sleep(20 * time.Millisecond)
	}
	return fmt.Errorf("%s is not ready: %w", s.program, err)
}

// kill ends the process as kill -9 does.
func (s *server) kill() {
	if s.process != nil && s.process.Process != nil {
		// Both fail only when it is gone already.
		_ = s.process.Process.Kill()
		_ = s.process.Wait()
	}
}

func (s *server) remove() {
	s.kill()
	_ = os.RemoveAll(s.dir)
}

func (s *server) logTail() string {
	log, err := os.ReadFile(filepath.Join(s.dir, "log"))
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(log)), "\n")
	return strings.Join(lines[max(0, len(lines)-4):], "\n")
}
