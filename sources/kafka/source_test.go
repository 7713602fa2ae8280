package kafka

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/sluice-sql/sluice/internal/kafkatest"
	"github.com/sluice-sql/sluice/internal/vector"
	"github.com/sluice-sql/sluice/microbatch"
	"github.com/sluice-sql/sluice/sources/decode"
	"github.com/sluice-sql/sluice/sources/sourcetest"
)

// Where reading begins is resolved once: a replay of the first batches begins there, too, whatever the option says.
func TestStartup(t *testing.T) {
	kafkatest.Each(t, func(t *testing.T, c *kafkatest.Cluster) {
		topic := c.Topic(t, 2, "retention.ms=-1") // the records are years old
		cl := producer(t, c)
		for i := range 10 {
			for p := range int32(2) {
				r := event(topic, p, i)
				r.Timestamp = time.UnixMilli(1_700_000_000_000 + int64(i)*1000)
				kafkatest.Produce(t, cl, r)
			}
		}
		for startup, want := range map[string]int{"earliest": 20, "latest": 0, "2023-11-14 22:13:25": 10, "2023-11-14T22:13:25.001Z": 8, "2100-01-01": 0,
			"2000-01-01": 20, "0:7": 13, "0:10,1:9": 1} {
			t.Run(startup, func(t *testing.T) {
				o := options(c, topic)
				o.Startup, o.Mode = startup, "bounded"
				rows, to := drain(t, open(t, o), nil)
				if len(rows) != want {
					t.Errorf("%d rows, want %d", len(rows), want)
				}
				// A replay by a source that would begin elsewhere.
				o.Startup = "earliest"
				if diff := cmp.Diff(rows, read(t, open(t, o), nil, to)); diff != "" {
					t.Errorf("read again from nil (-polled +read):\n%s", diff)
				}
			})
		}
		for startup, want := range map[string]string{"0:11": "has offsets 0 to 10", "2:0": "names partition 2"} {
			o := options(c, topic)
			o.Startup = startup
			wantError(t, failure(t, open(t, o), nil), want)
		}
		// Nothing is there yet: the first Poll says where it will begin, and what comes later is read.
		o := options(c, topic)
		o.Startup = "latest"
		s := open(t, o)
		r, err := s.Poll(t.Context(), nil, microbatch.Limits{})
		if err != nil || r.Count != 0 || len(r.To) == 0 {
			t.Fatalf("%d rows, offsets %s, %v", r.Count, r.To, err)
		}
		kafkatest.Produce(t, cl, event(topic, 1, 10))
		if rows, _ := pollAll(t, s, r.To, 1); !strings.HasPrefix(rows[0], "10 | ") {
			t.Errorf("read %v", rows)
		}
	})
}

// Partitions that are added get the next ordinals, and are read from their beginning.
func TestDiscovery(t *testing.T) {
	kafkatest.Each(t, func(t *testing.T, c *kafkatest.Cluster) {
		topic := c.Topic(t, 1)
		fill(t, c, topic, 1, 3)
		o := options(c, topic)
		o.Startup, o.DiscoverEvery = "latest", 10*time.Millisecond
		s := open(t, o)
		r, err := s.Poll(t.Context(), nil, microbatch.Limits{})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.Admin(t).UpdatePartitions(t.Context(), 3, topic); err != nil {
			t.Fatal(err)
		}
		cl := c.Client(t, kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.UnknownTopicRetries(100))
		kafkatest.Produce(t, cl, event(topic, 2, 1), event(topic, 1, 2), event(topic, 0, 3))
		rows, to := pollAll(t, s, r.To, 3)
		slices.Sort(rows)
		want := []string{seqRow(1, 2, 0, 2), seqRow(2, 1, 0, 1), seqRow(3, 0, 3, 0)}
		slices.Sort(want)
		if diff := cmp.Diff(want, rows); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
		got := read(t, open(t, options(c, topic)), r.To, to)
		slices.Sort(got)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("read again (-want +got):\n%s", diff)
		}
		if name := s.PartitionName(2); name != topic+"-2" {
			t.Errorf("ordinal 2 is called %q", name)
		}
		if got, err := s.Partitions(to); err != nil || len(got) != 3 {
			t.Errorf("partitions %v, %v", got, err)
		}
	})
}

// seqRow is event(id) of a partition as a row, whose ordinal is given.
func seqRow(id, partition, offset, ordinal int) string {
	return fmt.Sprintf("%d | %q | %d | %d | %q | %d", id, fmt.Sprintf("event %d of partition %d", id, partition), offset, partition, fmt.Sprintf("k%d", id), microbatch.Seq(ordinal, int64(offset)))
}

// Records of a transaction are rows once it is committed, and hold back what is behind them in their partition.
func TestOpenTransaction(t *testing.T) {
	kafkatest.Each(t, func(t *testing.T, c *kafkatest.Cluster) {
		topic := c.Topic(t, 1)
		tx := producer(t, c, kgo.TransactionalID("open-"+topic))
		if err := tx.BeginTransaction(); err != nil {
			t.Fatal(err)
		}
		kafkatest.Produce(t, tx, event(topic, 0, 0), event(topic, 0, 1))
		fill(t, c, topic, 1, 1)
		s := open(t, options(c, topic))
		r, err := s.Poll(t.Context(), nil, microbatch.Limits{})
		if err != nil || r.Count != 0 || r.RemainingRows != 3 {
			t.Fatalf("%d rows, %d remain: %v", r.Count, r.RemainingRows, err)
		}
		if err := tx.EndTransaction(t.Context(), kgo.TryCommit); err != nil {
			t.Fatal(err)
		}
		rows, _ := pollAll(t, s, r.To, 3)
		if diff := cmp.Diff([]string{seqRow(0, 0, 0, 0), seqRow(1, 0, 1, 0), seqRow(0, 0, 2, 0)}, rows); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	})
}

// Acknowledged offsets are those of the group, for lag tools, at the latest when the source is closed.
func TestGroupOffsets(t *testing.T) {
	kafkatest.Each(t, func(t *testing.T, c *kafkatest.Cluster) {
		topic := c.Topic(t, 2)
		fill(t, c, topic, 2, 5)
		o := options(c, topic)
		o.GroupID, o.Mode = "watch-"+topic, "bounded"
		s := open(t, o)
		_, to := drain(t, s, nil)
		if err := s.Ack(t.Context(), to); err != nil {
			t.Fatal(err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		got, err := c.Admin(t).FetchOffsetsForTopics(t.Context(), o.GroupID, topic)
		if err != nil {
			t.Fatal(err)
		}
		for p := range int32(2) {
			if o, _ := got.Lookup(topic, p); o.At != 5 {
				t.Errorf("partition %d: the group is at %d, want 5", p, o.At)
			}
		}
		if state := s.State(); state != "" {
			t.Error(state)
		}
	})
}

// Poison goes to the dead letters with its place, or stops; a record over the limit is poison.
func TestBadRecords(t *testing.T) {
	kafkatest.Each(t, func(t *testing.T, c *kafkatest.Cluster) {
		topic := c.Topic(t, 1, "max.message.bytes=20000000")
		cl := producer(t, c, kgo.ProducerBatchMaxBytes(16<<20))
		large := `{"name":"` + strings.Repeat("x", 10<<20) + `"}`
		for _, value := range []string{`{"id":1}`, `{"id":`, large, `{"id":2}`} {
			kafkatest.Produce(t, cl, &kgo.Record{Topic: topic, Value: []byte(value)})
		}
		o := options(c, topic)
		o.Mode = "bounded"
		s := open(t, o)
		r, err := s.Poll(t.Context(), nil, microbatch.Limits{})
		if err != nil {
			t.Fatal(err)
		}
		for !r.Done {
			more, err := s.Poll(t.Context(), r.To, microbatch.Limits{})
			if err != nil {
				t.Fatal(err)
			}
			more.Bad, more.Chunks = append(r.Bad, more.Bad...), append(r.Chunks, more.Chunks...)
			r = more
		}
		if rows := sourcetest.RenderAll(r.Chunks); len(rows) != 2 || len(r.Bad) != 2 {
			t.Fatalf("rows %v and %d bad ones", rows, len(r.Bad))
		}
		for i, want := range []string{"malformed JSON", "the message is 10485771 bytes long, and max_row_bytes is 1048576"} {
			if b := r.Bad[i]; b.Partition != topic+"-0" || b.Offset != int64(i+1) || !strings.Contains(b.Reason, want) || len(b.Raw) > 64<<10 {
				t.Errorf("bad row %d is %s:%d: %s", i, b.Partition, b.Offset, b.Reason)
			}
		}
		o.OnError = "stop"
		stopped := open(t, o)
		first, to := pollAll(t, stopped, nil, 1)
		if len(first) != 1 {
			t.Errorf("%d rows before the first bad one", len(first))
		}
		wantError(t, failure(t, stopped, to), topic+"-0:1 cannot be read: malformed JSON", "on_error = 'dead_letter'")
	})
}

// Records that are no rows do not hold a pipeline up, though a batch without rows is not logged.
func TestRecordsWithoutRows(t *testing.T) {
	kafkatest.Each(t, func(t *testing.T, c *kafkatest.Cluster) {
		topic := c.Topic(t, 1)
		cl := producer(t, c)
		for i := range 500 {
			cl.Produce(t.Context(), &kgo.Record{Topic: topic, Key: []byte(fmt.Sprint(i))}, nil)
		}
		kafkatest.Produce(t, cl, &kgo.Record{Topic: topic, Value: []byte(`{"op":"c","after":{"id":1}}`)}, &kgo.Record{Topic: topic, Key: []byte("last")})
		o := options(c, topic)
		o.Messages = decode.MessageOptions{Format: "debezium", Fields: columns[:1], Changes: 1}
		o.Mode = "bounded"
		lim := microbatch.Limits{MaxRows: 10}
		s := open(t, o)
		var from json.RawMessage
		var rows []string
		for done := false; !done; {
			r, err := s.Poll(t.Context(), from, lim)
			if err != nil {
				t.Fatal(err)
			}
			done = r.Done
			if r.Count == 0 && from != nil && string(r.To) != string(from) {
				t.Errorf("a Poll without rows moved to %s", r.To)
			}
			if r.Count > 0 {
				rows = append(rows, sourcetest.RenderAll(r.Chunks)...)
				again, err := open(t, o).Read(t.Context(), from, r.To)
				if err != nil {
					t.Fatal(err)
				}
				if again.Bytes != r.Bytes || again.Count != r.Count {
					t.Errorf("read again: %d rows of %d bytes, polled %d of %d", again.Count, again.Bytes, r.Count, r.Bytes)
				}
				from = r.To
			} else if from == nil {
				from = r.To
			}
		}
		if len(rows) != 1 {
			t.Errorf("rows %v", rows)
		}
	})
}

// What stands beside a record's value is the record's own, whatever the one before it had.
func TestMetadata(t *testing.T) {
	kafkatest.Each(t, func(t *testing.T, c *kafkatest.Cluster) {
		topic := c.Topic(t, 1, "retention.ms=-1")
		at := time.Date(2026, 1, 31, 12, 0, 0, 123_000_000, time.UTC)
		headers := []kgo.RecordHeader{{Key: "a", Value: []byte("1")}, {Key: "b"}, {Key: "a", Value: []byte("2")}}
		kafkatest.Produce(t, producer(t, c),
			&kgo.Record{Topic: topic, Value: []byte(`{}`), Key: []byte("k"), Timestamp: at, Headers: headers},
			&kgo.Record{Topic: topic, Value: []byte(`{}`), Timestamp: at.Add(time.Millisecond)},
			&kgo.Record{Topic: topic, Value: []byte(`{}`), Key: []byte{}, Timestamp: at, Headers: headers[:1]})
		text := vector.Of(vector.Varchar)
		entry := vector.Type{Kind: vector.Struct, Fields: []vector.Field{{Name: "key", Type: text}, {Name: "value", Type: text}}}
		o := options(c, topic)
		o.Messages = decode.MessageOptions{Format: "json", Metadata: []string{"", "key", "headers", "timestamp", "topic"}, Fields: []vector.Field{
			{Name: "id", Type: vector.Of(vector.Int64)}, {Name: "key", Type: text}, {Name: "headers", Type: vector.Type{Kind: vector.Map, Elem: &entry}},
			{Name: "at", Type: vector.Of(vector.Timestamp)}, {Name: "topic", Type: text}}}
		rows, _ := pollAll(t, open(t, o), nil, 3)
		for i, row := range rows {
			rows[i] = strings.ReplaceAll(row, topic, "TOPIC")
		}
		if diff := cmp.Diff([]string{
			`NULL | "k" | [{"b", NULL}, {"a", "2"}] | 1769860800123000 | "TOPIC" | 0`,
			`NULL | NULL | [] | 1769860800124000 | "TOPIC" | 1`,
			`NULL | "" | [{"a", "1"}] | 1769860800123000 | "TOPIC" | 2`,
		}, rows); diff != "" {
			t.Error(diff)
		}
	})
}

// A partition with much to read does not keep the others waiting, nor do limits smaller than their number.
func TestFairness(t *testing.T) {
	c := kafkatest.Fake(t)
	topic := c.Topic(t, 4)
	fill(t, c, topic, 1, 1000)
	cl := producer(t, c)
	for p := int32(1); p < 4; p++ {
		kafkatest.Produce(t, cl, event(topic, p, 1), event(topic, p, 2))
	}
	for _, maxRows := range []int64{1, 2, 40} {
		s := open(t, options(c, topic))
		var from json.RawMessage
		seen := map[int64]int{}
		// All partitions are one broker's, whose first answer has records of each.
		for polls := int64(0); polls == 0 || polls < 8/maxRows; polls++ {
			r, err := s.Poll(t.Context(), from, microbatch.Limits{MaxRows: maxRows})
			if err != nil {
				t.Fatal(err)
			}
			for _, ch := range r.Chunks {
				for i := range ch.N {
					seen[ch.Cols[len(ch.Cols)-1].I64(i)>>microbatch.SeqPartitionShift]++
				}
			}
			from = r.To
		}
		if len(seen) != 4 {
			t.Errorf("%d rows a Poll: rows of the partitions %v", maxRows, seen)
		}
	}
}

func TestDivide(t *testing.T) {
	for _, tt := range []struct {
		lim   microbatch.Limits
		sizes [][]int64
		want  []int
	}{
		{microbatch.Limits{}, [][]int64{{1, 1, 1}, {1}}, []int{3, 1}},
		{microbatch.Limits{MaxRows: 4}, [][]int64{{1, 1, 1, 1, 1}, {1}}, []int{3, 1}},
		{microbatch.Limits{MaxRows: 4}, [][]int64{{1, 1, 1, 1, 1}, {1, 1, 1, 1}}, []int{2, 2}},
		{microbatch.Limits{MaxRows: 1}, [][]int64{{1, 1}, {1}}, []int{1, 0}},
		{microbatch.Limits{MaxBytes: 10}, [][]int64{{4, 4, 4, 4}, {4, 4, 4}}, []int{2, 2}},
		{microbatch.Limits{MaxBytes: 1}, [][]int64{{400, 4}, {4}}, []int{1, 0}},
		{microbatch.Limits{MaxBytes: 100, MaxRows: 3}, [][]int64{{40, 40, 40}, {1, 1, 1}}, []int{2, 1}},
		{microbatch.Limits{MaxBytes: 5}, [][]int64{{0, 0, 0, 0, 0, 0, 0}, {}}, []int{5, 0}},
	} {
		var active []int
		for i, s := range tt.sizes {
			if len(s) > 0 {
				active = append(active, i)
			}
		}
		counts := divide(active, tt.lim, func(i, n int) (int64, bool) {
			if n >= len(tt.sizes[i]) {
				return 0, false
			}
			return tt.sizes[i][n], true
		})
		got := make([]int, len(tt.sizes))
		for i, n := range counts {
			got[i] = n
		}
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("%+v of %v (-want +got):\n%s", tt.lim, tt.sizes, diff)
		}
	}
}

// A schema registry that does not answer is asked again, and loses nothing; it ends the source after a while.
func TestRegistryDown(t *testing.T) {
	c := kafkatest.Fake(t)
	topic := c.Topic(t, 1)
	fill(t, c, topic, 1, 10)
	s := open(t, options(c, topic))
	real := s.decoder
	s.decoder = failingDecoder{real, 4}
	rows, to := pollAll(t, s, nil, 4)
	r, err := s.Poll(t.Context(), to, microbatch.Limits{})
	if err != nil || r.Count != 0 || string(r.To) != string(to) {
		t.Errorf("%d rows to %s, %v", r.Count, r.To, err)
	}
	wantError(t, fmt.Errorf("%s", s.State()), "the registry does not answer")
	s.decoder = real
	more, _ := pollAll(t, s, to, 6)
	if s.State() != "" || len(rows)+len(more) != 10 {
		t.Errorf("%d rows, state %q", len(rows)+len(more), s.State())
	}
	s.decoder, s.opt.Patience = failingDecoder{real, 0}, time.Nanosecond
	wantError(t, failure(t, s, to), "source events: the registry does not answer")
}

// A failingDecoder fails from an offset on.
type failingDecoder struct {
	decode.MessageDecoder
	from int64
}

func (d failingDecoder) Add(m *decode.Message, b *decode.Builder) error {
	if m.Offset >= d.from {
		return fmt.Errorf("the registry does not answer")
	}
	return d.MessageDecoder.Add(m, b)
}

func TestOffsetsDocument(t *testing.T) {
	p := &position{topic: "a.b-c", id: topicID{1, 255}, marks: []mark{{0, 5, 9, 3, 7}, {3, 0, 0, 0, -1}}}
	got, err := decodePosition(p.encode())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(p, got, cmp.AllowUnexported(position{}, mark{})); diff != "" {
		t.Error(diff)
	}
	for _, bad := range []string{"[7,0,5]", "[-1,0,5,6]", "[7,0,5,5]", "[7,0,5,-2]", "[4294967296,0,5,6]", "[7,0,8796093022209,-1]"} {
		doc := fmt.Sprintf(`{"v":1,"id":"00000000000000000000000000000000","partitions":[],"unknown_schemas":[%s]}`, bad)
		if _, err := decodePosition(json.RawMessage(doc)); err == nil {
			t.Errorf("%s is read", doc)
		}
	}
	for _, bad := range []string{`{"v":2}`, `{"v":1,"id":"00"}`, `{"v":1,"id":"00000000000000000000000000000000","partitions":[[0,1,0,0,0]]}`,
		`{"v":1,"id":"00000000000000000000000000000000","partitions":[[0,0,0,0,-1],[0,0,0,0,-1]]}`, `[]`, `{"v":1,"id":"00000000000000000000000000000000","partitions":[[0,0,1,2,0]]}`} {
		if _, err := decodePosition(json.RawMessage(bad)); err == nil {
			t.Errorf("%s is read", bad)
		}
	}
}

func TestValidate(t *testing.T) {
	good := options(&kafkatest.Cluster{Addrs: []string{"localhost"}}, "t")
	for want, change := range map[string]func(*Options){
		"topic = 'a b'":         func(o *Options) { o.Topic = "a b" },
		"startup = 'yesterday'": func(o *Options) { o.Startup = "yesterday" },
		"startup = '1:2,1:3'":   func(o *Options) { o.Startup = "1:2,1:3" },
		"mode = 'once'":         func(o *Options) { o.Mode = "once" },
		"on_error = 'ignore'":   func(o *Options) { o.OnError = "ignore" },
		"max_buffer_bytes = 7":  func(o *Options) { o.BufferBytes = 7 },
		"brokers = ''":          func(o *Options) { o.Client.Brokers = nil },
		"format = 'xml'":        func(o *Options) { o.Messages.Format = "xml" },
		"no columns":            func(o *Options) { o.Messages.Fields = []vector.Field{} },
	} {
		o := good
		change(&o)
		wantError(t, o.Validate(), want)
	}
	if err := good.Validate(); err != nil {
		t.Error(err)
	}
}
