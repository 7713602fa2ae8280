package kafkatest

import (
	"errors"
	"fmt"
	"net"
	"syscall"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"
)

func TestMain(m *testing.M) { Main(m) }

// Both brokers keep what is written.
func TestBrokers(t *testing.T) {
	Each(t, func(t *testing.T, c *Cluster) {
		topic := c.Topic(t, 1)
		Produce(t, c.Client(t), &kgo.Record{Topic: topic, Value: []byte("hello")})
		fetches := c.Client(t, kgo.ConsumeTopics(topic)).PollRecords(t.Context(), 1)
		if err := fetches.Err(); err != nil {
			t.Fatal(err)
		}
		if got := fetches.Records(); len(got) != 1 || string(got[0].Value) != "hello" {
			t.Fatalf("read %d records", len(got))
		}
	})
}

// A port that is held is the node's, and nobody else's.
func TestHeldPorts(t *testing.T) {
	p, err := holdPorts(3)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 { // a node that is started again, too
		for _, port := range p.numbers {
			l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			if c, err := net.Dial("tcp", l.Addr().String()); err != nil {
				t.Error(err)
			} else if c.Close() != nil || l.Close() != nil {
				t.Error("cannot close")
			}
		}
	}
	if _, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", p.numbers[0])); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("a connection to a port without a node gives %v", err)
	}
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM, 0) // one that does not say SO_REUSEADDR
	if err != nil {
		t.Fatal(err)
	}
	defer syscall.Close(fd)
	if err := syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}, Port: p.numbers[0]}); !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("a client gets the port: %v", err)
	}
	if err := p.release(); err != nil {
		t.Error(err)
	}
}
