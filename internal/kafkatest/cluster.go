package kafkatest

import (
	"context"
	"fmt"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
)

// Cluster is a Kafka that a test may use: Fake or Real is set.
type Cluster struct {
	Addrs []string
	Fake  *kfake.Cluster
	Real  *Server
}

var (
	shared    = map[int]*Server{}
	sharedErr error
	sharedMu  sync.Mutex
	topics    atomic.Int64
)

// Main runs the tests of a package and then ends the brokers that they shared. Call it from TestMain.
func Main(m *testing.M) { os.Exit(Run(m)) }

// Run is Main for a TestMain that has something of its own to clean up: it returns the exit code.
func Run(m *testing.M) int { return max(m.Run(), Close()) }

// Close ends the shared brokers, for a TestMain that runs the tests itself. It returns 1 if it could not.
func Close() int {
	code := 0
	for _, s := range shared {
		if err := s.Close(); err != nil {
			fmt.Fprintln(os.Stderr, "kafkatest:", err)
			code = 1
		}
	}
	return code
}

// Each runs a test against a broker in the process and, where there is one, against a real broker that all
// tests of the package share.
func Each(t *testing.T, test func(t *testing.T, c *Cluster)) {
	t.Run("fake", func(t *testing.T) { test(t, Fake(t)) })
	t.Run("real", func(t *testing.T) { test(t, Shared(t, 1)) })
}

// Fake starts a broker in the process that ends with the test.
func Fake(t testing.TB, opts ...kfake.Opt) *Cluster {
	t.Helper()
	c, err := kfake.NewCluster(append([]kfake.Opt{kfake.NumBrokers(1)}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return &Cluster{Addrs: c.ListenAddrs(), Fake: c}
}

// lib is where the jars are; the test is skipped without.
func lib(t testing.TB) string {
	t.Helper()
	dir := os.Getenv("SLUICE_KAFKA_LIB")
	if dir == "" {
		t.Skip("no real Kafka broker: make test-kafka runs this test with one")
	}
	return dir
}

// Shared returns the real cluster of n nodes that the tests of a package share: they must leave it running.
func Shared(t testing.TB, n int) *Cluster {
	t.Helper()
	dir := lib(t)
	sharedMu.Lock()
	defer sharedMu.Unlock()
	if shared[n] == nil && sharedErr == nil {
		shared[n], sharedErr = Start(context.Background(), dir, n)
	}
	if sharedErr != nil {
		t.Fatal(sharedErr)
	}
	return &Cluster{Addrs: shared[n].Addrs(), Real: shared[n]}
}

// Own starts a real cluster of n nodes for one test, which may kill them.
func Own(t testing.TB, n int) *Cluster {
	t.Helper()
	s, err := Start(context.Background(), lib(t), n)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			for _, n := range s.nodes {
				t.Logf("the log of Kafka node %d:\n%s", n.id, n.tail())
			}
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return &Cluster{Addrs: s.Addrs(), Real: s}
}

// Client returns a client that ends with the test.
func (c *Cluster) Client(t testing.TB, opts ...kgo.Opt) *kgo.Client {
	t.Helper()
	cl, err := kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers(c.Addrs...)}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cl.Close)
	return cl
}

// Admin returns an administrator's client that ends with the test.
func (c *Cluster) Admin(t testing.TB) *kadm.Client {
	t.Helper()
	return kadm.NewClient(c.Client(t))
}

// Topic makes a topic with a name of its own and as many copies as there are nodes; configs are name=value.
func (c *Cluster) Topic(t testing.TB, partitions int32, configs ...string) string {
	t.Helper()
	name := fmt.Sprintf("t%d-%d", os.Getpid(), topics.Add(1))
	c.CreateTopic(t, name, partitions, configs...)
	return name
}

// CreateTopic makes a topic of a name.
func (c *Cluster) CreateTopic(t testing.TB, name string, partitions int32, configs ...string) {
	t.Helper()
	values := map[string]*string{}
	for _, s := range configs {
		k, v, _ := strings.Cut(s, "=")
		values[k] = &v
	}
	if _, err := c.Admin(t).CreateTopic(t.Context(), partitions, int16(len(c.Addrs)), values, name); err != nil {
		t.Fatalf("create topic %s: %v", name, err)
	}
}

// Produce writes records and waits until they are there. Those without a partition of their own need a client
// with a partitioner; here every record says its partition.
func Produce(t testing.TB, cl *kgo.Client, records ...*kgo.Record) {
	t.Helper()
	if err := cl.ProduceSync(t.Context(), records...).FirstErr(); err != nil {
		t.Fatalf("produce: %v", err)
	}
}
