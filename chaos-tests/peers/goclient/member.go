package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/status"
)

var _ = add("member: status, hash, alarms, members", func(t *T) {
	for i := range 20 {
		t.put("k", fmt.Sprint(i))
	}
	_, err := t.cli.Delete(t.ctx, "k")
	t.must(err)
	answer, err := t.cli.Status(t.ctx, t.server.url())
	t.must(err)
	t.say("version=%s leader=%t learner=%t errors=%v rev=%d size=%t", answer.Version, answer.Leader == answer.Header.MemberId,
		answer.IsLearner, answer.Errors, answer.Header.Revision, answer.DbSize > 0)
	// Members compare hashes with each other only: a store may compute them as it likes.
	hashes := map[int64]uint32{}
	for _, rev := range []int64{0, 2, 10, 22} {
		hash, err := t.cli.HashKV(t.ctx, t.server.url(), rev)
		t.must(err)
		hashes[rev] = hash.Hash
		t.say("hash at %d: compacted %d, rev %d", rev, hash.CompactRevision, hash.HashRevision)
	}
	t.say("now as at 22: %t, at 2 as at 10: %t", hashes[0] == hashes[22], hashes[2] == hashes[10])
	_, err = t.cli.Compact(t.ctx, 12)
	t.must(err)
	hash, err := t.cli.HashKV(t.ctx, t.server.url(), 0)
	t.must(err)
	t.say("hash: compacted %d", hash.CompactRevision)
	_, err = t.cli.HashKV(t.ctx, t.server.url(), 3)
	t.say("hash of what is compacted: %v", err)
	alarms, err := t.cli.AlarmList(t.ctx)
	t.must(err)
	t.say("alarms: %d", len(alarms.Alarms))
	_, err = t.cli.Defragment(t.ctx, t.server.url())
	t.say("defragment: %v", err)
	members, err := t.cli.MemberList(t.ctx)
	t.must(err)
	for _, m := range members.Members {
		t.say("member %s learner=%t url=%t", m.Name, m.IsLearner, m.ClientURLs[0] == t.server.url())
	}
	t.must(t.cli.Sync(t.ctx))
	t.say("synced: %t", t.cli.Endpoints()[0] == t.server.url())
	_, err = t.cli.MoveLeader(t.ctx, 1)
	t.say("move leader: %v", err)
	_, err = t.cli.MemberRemove(t.ctx, 12345)
	t.say("remove: %v", err)
})

var _ = add("member: authentication is off", func(t *T) {
	auth, err := t.cli.AuthStatus(t.ctx)
	t.must(err)
	t.say("enabled=%t revision=%d", auth.Enabled, auth.AuthRevision)
	_, err = t.cli.Authenticate(t.ctx, "root", "x")
	t.say("authenticate: %v", err)
	_, err = t.cli.AuthDisable(t.ctx)
	t.say("disable: %v", err)
	cli := t.client(func(c *clientv3.Config) { c.Username, c.Password = "root", "x" })
	defer cli.Close()
	answer, err := cli.Get(t.ctx, "k")
	t.sayGet("with a name and a password", answer, err)
})

var _ = add("member: a method that nobody has", func(t *T) {
	conn := t.cli.ActiveConnection()
	var none struct{}
	for _, method := range []string{"/etcdserverpb.KV/Nothing", "/nobody.Service/Nothing"} {
		err := conn.Invoke(t.ctx, method, &none, &none, grpc.ForceCodec(empty{}))
		t.say("%s: %v", method, status.Code(err))
	}
	err := conn.Invoke(t.ctx, "/etcdserverpb.KV/Range", &none, &none, grpc.ForceCodec(broke{}))
	t.say("not a message: %v", status.Code(err))
})

// empty writes a message without fields and does not look at the answer.
type empty struct{}

func (empty) Marshal(any) ([]byte, error) { return nil, nil }
func (empty) Unmarshal([]byte, any) error { return nil }
func (empty) Name() string                { return "proto" }

// broke writes what no message can be.
type broke struct{ empty }

func (broke) Marshal(any) ([]byte, error) { return []byte{0xff, 0xff, 0xff}, nil }

// authority is a certificate authority with one server's and one client's certificate.
type authority struct {
	dir  string
	pool *x509.CertPool
	mine tls.Certificate
}

func (a *authority) flags() []string {
	return []string{"--client-cert-auth", "--trusted-ca-file=" + filepath.Join(a.dir, "ca.pem"),
		"--cert-file=" + filepath.Join(a.dir, "server.pem"), "--key-file=" + filepath.Join(a.dir, "server-key.pem")}
}

func (a *authority) client() *tls.Config {
	return &tls.Config{RootCAs: a.pool, Certificates: []tls.Certificate{a.mine}}
}

func newAuthority(dir string) (*authority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	root := certificate("authority")
	root.IsCA, root.KeyUsage = true, x509.KeyUsageCertSign
	der, err := x509.CreateCertificate(rand.Reader, root, root, &key.PublicKey, key)
	if err != nil {
		return nil, err
	}
	parent, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	a := &authority{dir: dir, pool: x509.NewCertPool()}
	a.pool.AddCert(parent)
	if err := save(dir, "ca.pem", "CERTIFICATE", der); err != nil {
		return nil, err
	}
	if _, err := issue(dir, "server", parent, key); err != nil {
		return nil, err
	}
	a.mine, err = issue(dir, "client", parent, key)
	return a, err
}

func certificate(name string) *x509.Certificate {
	return &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		BasicConstraintsValid: true, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
}

func issue(dir, name string, parent *x509.Certificate, parentKey *ecdsa.PrivateKey) (tls.Certificate, error) {
	var none tls.Certificate
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return none, err
	}
	der, err := x509.CreateCertificate(rand.Reader, certificate(name), parent, &key.PublicKey, parentKey)
	if err != nil {
		return none, err
	}
	private, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return none, err
	}
	if err := save(dir, name+".pem", "CERTIFICATE", der); err != nil {
		return none, err
	}
	if err := save(dir, name+"-key.pem", "EC PRIVATE KEY", private); err != nil {
		return none, err
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, nil
}

func save(dir, name, kind string, der []byte) error {
	block := pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
	return os.WriteFile(filepath.Join(dir, name), block, 0o600)
}

var _ = add("tls: client certificates", func(t *T) {
	t.put("before", "1")
	t.server.kill()
	trusted, err := newAuthority(t.server.dir)
	t.must(err)
	t.server.tls = trusted
	t.must(t.server.start())
	strangers, err := os.MkdirTemp(t.server.dir, "strangers")
	t.must(err)
	stranger, err := newAuthority(strangers)
	t.must(err)
	for name, config := range map[string]*tls.Config{
		"trusted":     trusted.client(),
		"without one": {RootCAs: trusted.pool},
		"stranger":    {RootCAs: trusted.pool, Certificates: []tls.Certificate{stranger.mine}},
		"distrustful": stranger.client(),
		"plain text":  nil,
	} {
		cli := t.client(func(c *clientv3.Config) {
			c.TLS = config
			if config == nil {
				c.Endpoints = []string{fmt.Sprintf("http://127.0.0.1:%d", t.server.client)}
			}
		})
		ctx, cancel := context.WithTimeout(t.ctx, 3*time.Second)
		answer, err := cli.Get(ctx, "before")
		if err == nil {
			t.sayGet(name, answer, err)
			watch := cli.Watch(ctx, "before", clientv3.WithRev(2))
			t.sayEvents(name, watch, 1)
		} else {
			t.say("%s: refused", name)
		}
		cancel()
		cli.Close()
	}
	t.sortLines()
})
