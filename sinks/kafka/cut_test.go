package kafka

import (
	"context"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/sluice-sql/sluice/internal/kafkatest"
	"github.com/sluice-sql/sluice/sinks/sinktest"
)

// A cutter breaks connections at requests of a kind: before they arrive, or after they were answered and before the
// answer is passed on.
type cutter struct {
	mu    sync.Mutex
	key   int16
	after bool
	times int
	fired int
}

func (c *cutter) arm(key int16, after bool, times int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.key, c.after, c.times, c.fired = key, after, times, 0
}

func (c *cutter) count() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.fired
}

func (c *cutter) dial(ctx context.Context, network, host string) (net.Conn, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, network, host)
	return &cutConn{Conn: conn, c: c}, err
}

type cutConn struct {
	net.Conn
	c *cutter
	// doomed says that the next answer is the one to be lost.
	mu     sync.Mutex
	doomed bool
}

// Write sends a request: its length, four bytes, and its kind, two.
func (c *cutConn) Write(b []byte) (int, error) {
	if len(b) < 6 {
		return c.Conn.Write(b)
	}
	key := int16(b[4])<<8 | int16(b[5])
	c.c.mu.Lock()
	hit := c.c.times > 0 && key == c.c.key
	after := c.c.after
	if hit {
		c.c.times--
		c.c.fired++
	}
	c.c.mu.Unlock()
	if hit && !after {
		_ = c.Conn.Close()
		return 0, io.ErrClosedPipe
	}
	if hit {
		c.mu.Lock()
		c.doomed = true
		c.mu.Unlock()
	}
	return c.Conn.Write(b)
}

func (c *cutConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.doomed && err == nil {
		_ = c.Conn.Close()
		return 0, io.EOF
	}
	return n, err
}

// Connections that break at every request of a kind until the client gives up, before or after the request arrived,
// cost no batch and repeat none. Those that break once are sinktest's.
func TestCutConnections(t *testing.T) {
	kafkatest.Each(t, func(t *testing.T, c *kafkatest.Cluster) {
		requests := []kmsg.Request{kmsg.NewPtrInitProducerIDRequest(), kmsg.NewPtrAddPartitionsToTxnRequest(), kmsg.NewPtrProduceRequest(), kmsg.NewPtrEndTxnRequest(), kmsg.NewPtrFetchRequest()}
		for _, req := range requests {
			for _, after := range []bool{false, true} {
				t.Run(fmt.Sprint(kmsg.NameForKey(req.Key()), "/", after), func(t *testing.T) {
					t.Parallel()
					cutTest(t, c, req.Key(), after)
				})
			}
		}
	})
}

func cutTest(t *testing.T, c *kafkatest.Cluster, key int16, after bool) {
	o := options(t, c, Layout{})
	o.DeadLetters = false
	plain := o
	cut := &cutter{}
	o.Client.Dial = cut.dial
	d := sinktest.NewDiary(t)
	s, _ := open(t, o, appended)
	d.Put(s, sinktest.Batch(1, sinktest.Rows("1 a")))
	b := sinktest.Batch(2, sinktest.Rows("2 b", "3 c"))
	if err := s.Stage(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	permit := d.Prepare(b)
	s.o.TransactionTimeout = 2 * time.Second // how long the client tries
	cut.arm(key, after, 1000)
	err := s.Commit(t.Context(), permit, sinktest.Info)
	fired := cut.count()
	if once := key == kmsg.NewPtrProduceRequest().Key() || key == kmsg.NewPtrEndTxnRequest().Key(); once && fired == 0 {
		t.Error("nothing was cut")
	}
	cut.arm(key, after, 0)
	// Whatever the sink said, the next engine finds the batch or not, and goes on from there.
	next, l := open(t, plain, appended)
	if err == nil && l.Batch != 2 {
		t.Errorf("committed, and the ledger is at batch %d", l.Batch)
	}
	if l.Batch == 1 {
		if err := next.Stage(t.Context(), b); err != nil {
			t.Fatal(err)
		}
		if err := next.Commit(t.Context(), permit, sinktest.Info); err != nil {
			t.Fatal(err)
		}
	}
	d.Done(2)
	d.Put(next, sinktest.Batch(3, sinktest.Rows("4 d")))
	want := []string{`-={"id":1,"s":"a"}`, `-={"id":2,"s":"b"}`, `-={"id":3,"s":"c"}`, `-={"id":4,"s":"d"}`}
	got := consume(t, c, o.Layout.Topic)
	slices.Sort(got)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("after %d cuts and %v, records (-want +got):\n%s", fired, err, diff)
	}
}

// A transaction that the brokers ended, because it took too long, is sent again.
func TestTransactionTimesOut(t *testing.T) {
	kafkatest.Each(t, func(t *testing.T, c *kafkatest.Cluster) {
		o := options(t, c, Layout{})
		s, _ := open(t, o, appended)
		d := sinktest.NewDiary(t)
		d.Put(s, sinktest.Batch(1, sinktest.Rows("1 a")))
		b := sinktest.Batch(2, sinktest.Rows("2 b"))
		if err := s.Stage(t.Context(), b); err != nil {
			t.Fatal(err)
		}
		permit := d.Prepare(b)
		// As a timeout does, and whoever takes the id for a moment and goes: the producer's epoch is no longer the newest.
		thief := newSink(t, o)
		thief.pipeline, thief.output = s.pipeline, s.output
		if err := thief.connect(t.Context()); err != nil {
			t.Fatal(err)
		}
		if _, err := thief.takeID(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := s.Commit(t.Context(), permit, sinktest.Info); err != nil {
			t.Fatal(err)
		}
		if got := consume(t, c, o.Layout.Topic); len(got) != 2 {
			t.Errorf("records are %v", got)
		}
	})
}

// A record that the topic does not take stops its batch before it is prepared.
func TestTooLargeRecord(t *testing.T) {
	kafkatest.Each(t, func(t *testing.T, c *kafkatest.Cluster) {
		o := options(t, c, Layout{})
		c.CreateTopic(t, o.Layout.Topic, 1, "max.message.bytes=2000")
		s, _ := open(t, o, appended)
		d := sinktest.NewDiary(t)
		d.Put(s, sinktest.Batch(1, sinktest.Rows("1 a")))
		err := s.Stage(t.Context(), sinktest.Batch(2, sinktest.Rows("2 "+string(make([]byte, 3000)))))
		if err == nil || !strings.Contains(err.Error(), "max.message.bytes") {
			t.Fatalf("a record that is too large: %v", err)
		}
		d.Put(s, sinktest.Batch(2, sinktest.Rows("2 b")))
		if got := consume(t, c, o.Layout.Topic); len(got) != 2 {
			t.Errorf("records are %v", got)
		}
	})
}
