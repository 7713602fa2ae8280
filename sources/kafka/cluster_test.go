package kafka

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"go.uber.org/goleak"

	"github.com/sluice-sql/sluice/internal/kafkaclient"
	"github.com/sluice-sql/sluice/internal/kafkatest"
	"github.com/sluice-sql/sluice/microbatch"
	"github.com/sluice-sql/sluice/sources/sourcetest"
)

// complete fails the test unless rows are n events of each partition, once each.
func complete(t *testing.T, rows []string, partitions, n int) {
	t.Helper()
	ids := map[string]int{}
	for _, r := range rows {
		f := strings.Split(r, " | ")
		ids[f[3]+"/"+f[0]]++
	}
	for p := range partitions {
		for i := range n {
			if got := ids[fmt.Sprintf("%d/%d", p, i)]; got != 1 {
				t.Fatalf("event %d of partition %d came %d times", i, p, got)
			}
		}
	}
	if len(rows) != partitions*n {
		t.Errorf("%d rows, want %d", len(rows), partitions*n)
	}
}

// Leaders move while a topic is read: nothing is lost or comes twice.
func TestLeadersMove(t *testing.T) {
	c := kafkatest.Fake(t, kfake.NumBrokers(3))
	c.CreateTopic(t, "moving", 4)
	fill(t, c, "moving", 4, 2000)
	o := options(c, "moving")
	o.Mode, o.BufferBytes = "bounded", 1<<20
	s := open(t, o)
	var rows []string
	var to json.RawMessage
	for done := false; !done; {
		r, err := s.Poll(t.Context(), to, microbatch.Limits{MaxRows: 300})
		if err != nil {
			t.Fatal(err)
		}
		rows, to, done = append(rows, sourcetest.RenderAll(r.Chunks)...), r.To, r.Done
		c.Fake.ShufflePartitionLeaders()
	}
	complete(t, rows, 4, 2000)
	if again := read(t, open(t, o), nil, to); len(again) != len(rows) {
		t.Errorf("%d rows read again, %d polled", len(again), len(rows))
	}
}

// The leader of a real cluster is killed while its topic is read, and comes back; then all nodes are.
func TestNodesAreKilled(t *testing.T) {
	c := kafkatest.Own(t, 3)
	topic := c.Topic(t, 3, "min.insync.replicas=2")
	fill(t, c, topic, 3, 3000)
	o := options(c, topic)
	o.BufferBytes = 1 << 20
	s := open(t, o)
	rows, to := pollSome(t, s, nil, 500)
	if err := c.Real.Kill(1); err != nil {
		t.Fatal(err)
	}
	fillFrom(t, c, topic, 3, 3000, 500)
	more, to := pollSome(t, s, to, 3*3500-len(rows))
	rows = append(rows, more...)
	complete(t, rows, 3, 3500)
	ctx := context.Background()
	if err := c.Real.Restart(ctx, 1); err != nil {
		t.Fatal(err)
	}
	// Without any broker the source says so and goes on trying.
	for id := range 3 {
		if err := c.Real.Kill(id + 1); err != nil {
			t.Fatal(err)
		}
	}
	for s.State() == "" {
		r, err := s.Poll(t.Context(), to, microbatch.Limits{})
		if err != nil || r.Count != 0 {
			t.Fatalf("%d rows, %v", r.Count, err)
		}
	}
	restarted := make(chan error, 3)
	for id := range 3 {
		go func() { restarted <- c.Real.Restart(ctx, id+1) }()
	}
	for range 3 {
		if err := <-restarted; err != nil {
			t.Fatal(err)
		}
	}
	fillFrom(t, c, topic, 3, 3500, 10)
	more, to = pollSome(t, s, to, 30)
	rows = append(rows, more...)
	complete(t, rows, 3, 3510)
	for s.State() != "" { // a connection may break once more while nodes start
		if _, err := s.Poll(t.Context(), to, microbatch.Limits{}); err != nil {
			t.Fatal(err)
		}
	}
	again := read(t, open(t, o), nil, to)
	slices.Sort(again)
	slices.Sort(rows)
	if !slices.Equal(again, rows) {
		t.Error("the rows read again are others")
	}
}

// pollSome polls until at least n rows came.
func pollSome(t testing.TB, s *Source, from json.RawMessage, n int) (rows []string, to json.RawMessage) {
	t.Helper()
	for to = from; len(rows) < n; {
		r, err := s.Poll(t.Context(), to, microbatch.Limits{MaxRows: 400})
		if err != nil {
			t.Fatal(err)
		}
		rows, to = append(rows, sourcetest.RenderAll(r.Chunks)...), r.To
	}
	return rows, to
}

// fillFrom writes n more events to each partition, the first of them the first-th.
func fillFrom(t testing.TB, c *kafkatest.Cluster, topic string, partitions int32, first, n int) {
	t.Helper()
	cl := producer(t, c)
	for i := range n {
		for p := range partitions {
			kafkatest.Produce(t, cl, event(topic, p, first+i))
		}
	}
}

// Closing leaves nothing behind, in the middle of reading too.
func TestCloseLeavesNothing(t *testing.T) {
	c := kafkatest.Fake(t)
	topic := c.Topic(t, 2)
	fill(t, c, topic, 2, 100)
	o := options(c, topic)
	o.GroupID = "g"
	ignore := goleak.IgnoreCurrent()
	s := open(t, o)
	r, err := s.Poll(t.Context(), nil, microbatch.Limits{MaxRows: 10})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Ack(t.Context(), r.To); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	opts := []goleak.Option{ignore}
	for _, f := range []string{"run", "read", "read.func1", "write"} { // the broker's own, which sees a little later that a connection was closed
		opts = append(opts, goleak.IgnoreAnyFunction("github.com/twmb/franz-go/pkg/kfake.(*clientConn)."+f), goleak.IgnoreAnyFunction("github.com/twmb/franz-go/pkg/kfake.(*Cluster)."+f))
	}
	goleak.VerifyNone(t, opts...)
}

func TestWrongTopic(t *testing.T) {
	kafkatest.Each(t, func(t *testing.T, c *kafkatest.Cluster) {
		topic := c.Topic(t, 1)
		o := options(c, topic+"x")
		wantError(t, failure(t, open(t, o), nil), "topic = '"+topic+"x' is not known", "Hint: did you mean '"+topic+"'?")
		o.Topic = "nothing.like.it"
		wantError(t, failure(t, open(t, o), nil), "Hint: create it: kafka-topics.sh")
	})
}

// secure are the options of a user at the encrypted listener.
func secure(t *testing.T, c *kafkatest.Cluster, topic, mechanism, user, password string) Options {
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, c.Real.Certificate(), 0o600); err != nil {
		t.Fatal(err)
	}
	o := options(c, topic)
	o.Client = kafkaclient.Options{Brokers: c.Real.SecureAddrs(), CAFile: ca, Mechanism: mechanism, User: user, Password: password}
	return o
}

// TLS, SASL and ACLs of a real broker: what each mechanism needs, and what is said of what is wrong.
func TestSecurity(t *testing.T) {
	c := kafkatest.Shared(t, 1)
	topic := c.Topic(t, 1)
	fill(t, c, topic, 1, 3)
	admin := c.Admin(t)
	scrams := map[string]kadm.ScramMechanism{"scram-sha-256": kadm.ScramSha256, "scram-sha-512": kadm.ScramSha512}
	for _, m := range scrams {
		if got, err := admin.AlterUserSCRAMs(t.Context(), nil, []kadm.UpsertSCRAM{{User: "alice", Mechanism: m, Iterations: 4096, Password: "alice-scram"}}); err != nil || got.Error() != nil {
			t.Fatal(err, got.Error())
		}
	}
	allowed := kadm.NewACLs().Allow("User:alice").AllowHosts().Topics(topic).Operations(kadm.OpRead, kadm.OpDescribe).ResourcePatternType(kadm.ACLPatternLiteral)
	if _, err := admin.CreateACLs(t.Context(), allowed); err != nil {
		t.Fatal(err)
	}
	for mechanism, password := range map[string]string{"plain": "alice-secret", "scram-sha-256": "alice-scram", "scram-sha-512": "alice-scram"} {
		t.Run(mechanism, func(t *testing.T) {
			pollAll(t, open(t, secure(t, c, topic, mechanism, "alice", password)), nil, 3)
			wrong := open(t, secure(t, c, topic, mechanism, "alice", "a guess"))
			wantError(t, failure(t, wrong, nil), "SASL_AUTHENTICATION_FAILED", "Hint: check sasl_user, its password, and sasl_mechanism")
		})
	}
	// Why two answers: a broker does not tell whether a topic exists to whom it does not show it.
	wantError(t, failure(t, open(t, secure(t, c, topic, "plain", "mallory", "mallory-secret")), nil), "TOPIC_AUTHORIZATION_FAILED", "Hint: user \"mallory\"")
	o := secure(t, c, topic, "plain", "alice", "alice-secret")
	o.GroupID = "not-allowed"
	wantError(t, failure(t, open(t, o), nil), "group_id = 'not-allowed'", "GROUP_AUTHORIZATION_FAILED")
	o = secure(t, c, topic, "plain", "alice", "alice-secret")
	o.Client.CAFile = ""
	o.Client.TLS = true
	wantError(t, failure(t, open(t, o), nil), "certificate")
	o = secure(t, c, topic, "plain", "alice", "alice-secret")
	o.Client.CAFile = ""
	start := time.Now()
	wantError(t, failure(t, open(t, o), nil), "Hint: ")
	t.Logf("a client without TLS was told after %s", time.Since(start))
}
