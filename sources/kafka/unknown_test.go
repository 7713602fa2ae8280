package kafka

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/sluice-sql/sluice/internal/kafkatest"
	"github.com/sluice-sql/sluice/internal/registrytest"
	"github.com/sluice-sql/sluice/internal/schemaregistry"
	"github.com/sluice-sql/sluice/internal/vector"
	"github.com/sluice-sql/sluice/microbatch"
	"github.com/sluice-sql/sluice/sources/decode"
	"github.com/sluice-sql/sluice/sources/sourcetest"
)

// Records whose schema nobody had registered are bad rows for good: what a range gives does not depend on when it is
// read. Those that follow are read by the schema once it is there.
func TestUnknownSchemaStaysUnknown(t *testing.T) {
	c, reg := kafkatest.Fake(t), registrytest.New(t)
	topic := c.Topic(t, 2)
	o := options(c, topic)
	o.Messages = decode.MessageOptions{Format: "avro", Fields: []vector.Field{{Name: "id", Type: vector.Of(vector.Int64)}}, MaxBytes: 1 << 20,
		Registry: schemaregistry.Options{URL: reg.URL()}}
	cl := producer(t, c)
	put := func(partition int32, schema uint32, id byte) {
		kafkatest.Produce(t, cl, &kgo.Record{Topic: topic, Partition: partition, Value: append(binary.BigEndian.AppendUint32([]byte{0}, schema), 2*id)})
	}
	render := func(r *microbatch.Rows) []string {
		out := sourcetest.RenderAll(r.Chunks)
		for _, b := range r.Bad {
			out = append(out, fmt.Sprintf("%s %d: %s", b.Partition, b.Offset, b.Reason))
		}
		return out
	}
	const long = `{"type":"record","name":"r","fields":[{"name":"id","type":"long"}]}`
	first := uint32(reg.Register("a", "AVRO", long))
	second := first + 1
	put(0, first, 1)
	put(0, second, 2)
	put(1, second, 3)
	put(0, first, 4)
	s := open(t, o)
	early := &microbatch.Rows{}
	var want []string
	for len(want) < 4 {
		r, err := s.Poll(t.Context(), early.To, microbatch.Limits{})
		if err != nil {
			t.Fatal(err)
		}
		want, early = append(want, render(r)...), r
	}
	bad := fmt.Sprintf("schema %d is unknown to the registry", second)
	if n := len(slices.DeleteFunc(slices.Clone(want), func(s string) bool { return !strings.Contains(s, bad) })); n != 2 {
		t.Fatalf("%d bad rows in %q", n, want)
	}
	if got := uint32(reg.Register("a", "AVRO", `{"type":"record","name":"r","fields":[{"name":"id","type":"long","doc":"another"}]}`)); got != second {
		t.Fatalf("schema %d is registered", got)
	}
	put(0, second, 5)
	put(0, 99, 6)
	put(1, second, 7)
	late, all := &microbatch.Rows{To: early.To}, slices.Clone(want)
	s = open(t, o) // the registry's answer is believed for some seconds
	for len(all) < 7 {
		r, err := s.Poll(t.Context(), late.To, microbatch.Limits{})
		if err != nil {
			t.Fatal(err)
		}
		all, late = append(all, render(r)...), r
	}
	for name, c := range map[string]struct {
		from, to []byte
		want     []string
	}{"first": {nil, early.To, want}, "second": {early.To, late.To, all[4:]}, "both": {nil, late.To, all}} {
		r, err := open(t, o).Read(t.Context(), c.from, c.to)
		if err != nil {
			t.Fatal(err)
		}
		got := render(r)
		slices.Sort(got)
		sorted := slices.Sorted(slices.Values(c.want))
		if diff := cmp.Diff(sorted, got); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

// The same of any sequence of records, against keeping what came of each.
func TestUnknowns(t *testing.T) {
	for seed := range uint64(200) {
		r := rand.New(rand.NewPCG(seed, 1))
		var u unknowns
		type key struct {
			partition int32
			offset    int64
		}
		ids := map[key]decode.SchemaUse{}
		for offset := range int64(40) {
			for partition := range int32(2) {
				use := decode.SchemaUse{ID: uint32(r.IntN(3)), Known: r.IntN(2) == 0}
				ids[key{partition, offset}] = use
				u.note(partition, offset, []decode.SchemaUse{use})
			}
		}
		p := &position{unknown: u}
		again, err := decodePosition(p.encode())
		if err != nil {
			t.Fatal(err)
		}
		for k, use := range ids {
			if known := !slices.Contains(again.unknown.at(nil, k.partition, k.offset), use.ID); known != use.Known {
				t.Fatalf("seed %d: schema %d at offset %d of partition %d: known %v", seed, use.ID, k.offset, k.partition, known)
			}
		}
	}
	var u unknowns
	for i := range uint32(1000) {
		u.note(0, int64(i), []decode.SchemaUse{{ID: i}})
	}
	if len(u) != maxUnknown || u[0].id != 1000-maxUnknown {
		t.Errorf("%d are kept, the first of them %v", len(u), u[0])
	}
}
