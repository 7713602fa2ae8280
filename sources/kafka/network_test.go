package kafka

import (
	"context"
	"errors"
	"net"
	"sync"
	"testing"

	"github.com/sluice-sql/sluice/internal/kafkatest"
	"github.com/sluice-sql/sluice/microbatch"
	"github.com/sluice-sql/sluice/sources/sourcetest"
)

// A network is one that breaks when it is told to.
type network struct {
	mu    sync.Mutex
	cond  *sync.Cond
	mode  string // "", "cut", "stalled", "slow"
	conns map[*conn]bool
}

func newNetwork() *network {
	n := &network{conns: map[*conn]bool{}}
	n.cond = sync.NewCond(&n.mu)
	return n
}

var errCut = errors.New("the network is cut")

func (n *network) dial(ctx context.Context, _, host string) (net.Conn, error) {
	n.mu.Lock()
	cut := n.mode == "cut"
	n.mu.Unlock()
	if cut {
		return nil, &net.OpError{Op: "dial", Net: "tcp", Err: errCut}
	}
	inner, err := (&net.Dialer{}).DialContext(ctx, "tcp", host)
	if err != nil {
		return nil, err
	}
	c := &conn{Conn: inner, n: n}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.conns[c] = true
	return c, nil
}

// set breaks or mends the network.
func (n *network) set(mode string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.mode = mode
	if mode == "cut" {
		for c := range n.conns {
			_ = c.Conn.Close()
		}
	}
	n.cond.Broadcast()
}

type conn struct {
	net.Conn
	n      *network
	closed bool
}

func (c *conn) Read(p []byte) (int, error) {
	c.n.mu.Lock()
	for c.n.mode == "stalled" && !c.closed {
		c.n.cond.Wait()
	}
	if c.n.mode == "slow" && len(p) > 512 {
		p = p[:512]
	}
	c.n.mu.Unlock()
	return c.Conn.Read(p)
}

func (c *conn) Close() error {
	c.n.mu.Lock()
	c.closed = true
	delete(c.n.conns, c)
	c.n.cond.Broadcast()
	c.n.mu.Unlock()
	return c.Conn.Close()
}

// A network that is cut, stands still or crawls loses nothing, and no Poll hangs.
func TestFaults(t *testing.T) {
	kafkatest.Each(t, func(t *testing.T, c *kafkatest.Cluster) {
		topic := c.Topic(t, 3)
		fill(t, c, topic, 3, 10_000)
		net := newNetwork()
		o := options(c, topic)
		// Why so small: what is buffered when the fault comes must not be all there is.
		o.Mode, o.BufferBytes, o.Client.Dial = "bounded", 1<<20, net.dial
		faults := map[string]func(testing.TB) func(){}
		for _, mode := range []string{"cut", "stalled", "slow"} {
			faults[mode] = func(testing.TB) func() {
				net.set(mode)
				return func() { net.set("") }
			}
		}
		sourcetest.RunFaults(t, sourcetest.Config{
			Open:    func(t testing.TB) microbatch.Source { return open(t, o) },
			Columns: columns, Partitioned: true, Bounded: true, Faults: faults,
		})
	})
}
