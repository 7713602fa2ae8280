package kafka

import (
	"encoding/binary"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/avro"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/sluice-sql/sluice/internal/kafkatest"
	"github.com/sluice-sql/sluice/internal/registrytest"
	"github.com/sluice-sql/sluice/internal/schemaregistry"
	"github.com/sluice-sql/sluice/internal/vector"
	"github.com/sluice-sql/sluice/microbatch"
	"github.com/sluice-sql/sluice/planner"
	"github.com/sluice-sql/sluice/sinks/kafka/encode"
	"github.com/sluice-sql/sluice/sinks/sinktest"
)

// Keys and values are registered under the topic's name, and every record says by which schema it was written.
func TestRegistry(t *testing.T) {
	c := kafkatest.Fake(t)
	for _, format := range []string{encode.Avro, encode.Protobuf} {
		t.Run(format, func(t *testing.T) {
			reg := registrytest.New(t)
			o := options(t, c, Layout{Mode: ModeUpsert, Format: format})
			o.Registry = Registry{schemaregistry.Options{URL: reg.URL()}}
			s, _ := open(t, o, upserted)
			sinktest.NewDiary(t).Put(s, sinktest.Batch(1, sinktest.Rows("1 a")))
			only := func() *kgo.Record {
				shown, err := s.Read(t.Context(), "p", microbatch.Target{Output: upserted})
				if err != nil || len(shown.Records) != 1 {
					t.Fatal(shown, err)
				}
				return shown.Records[0]
			}
			r := only()
			ids := map[string]uint32{}
			for what, b := range map[string][]byte{"key": r.Key, "value": r.Value} {
				if b[0] != 0 || format == encode.Protobuf && b[5] != 0 {
					t.Errorf("the %s begins with % x", what, b[:6])
				}
				ids[what] = binary.BigEndian.Uint32(b[1:])
			}
			if ids["key"] == ids["value"] {
				t.Errorf("key and value have one schema: %v", ids)
			}
			if format == encode.Avro {
				cl, err := schemaregistry.New(o.Registry.Options)
				if err != nil {
					t.Fatal(err)
				}
				got, err := cl.ByID(t.Context(), int(ids["value"]))
				if err != nil {
					t.Fatal(err)
				}
				var x any
				if _, err := avro.MustParse(got.Text).Decode(r.Value[5:], &x); err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(map[string]any{"id": int64(1), "s": "a"}, x); diff != "" {
					t.Error(diff)
				}
			}
			// The next start finds the schemas there.
			_, l := open(t, o, upserted)
			if l.Batch != 1 {
				t.Errorf("the ledger is %+v", l)
			}
		})
	}
}

// What a registry refuses is told before anything is written.
func TestRegistryRefuses(t *testing.T) {
	c := kafkatest.Fake(t)
	refusing := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/vnd.schemaregistry.v1+json")
		w.WriteHeader(http.StatusConflict)
		_, _ = io.WriteString(w, `{"error_code":409,"message":"Schema being registered is incompatible with an earlier schema"}`)
	}))
	defer refusing.Close()
	broken := registrytest.New(t)
	broken.Break(registrytest.Cut)
	for url, want := range map[string]string{refusing.URL: "compatibility level refuses", broken.URL(): "start the registry"} {
		o := options(t, c, Layout{Format: encode.Avro})
		o.Registry = Registry{schemaregistry.Options{URL: url}}
		_, err := newSink(t, o).Open(t.Context(), "p", []microbatch.Target{{Output: appended}})
		if err == nil || !strings.Contains(err.Error(), o.Layout.Topic+"-value") || !strings.Contains(err.Error(), want) {
			t.Errorf("%v\nwant %q", err, want)
		}
	}
}

// A column that a format cannot have is refused with what to do.
func TestUnsupportedColumns(t *testing.T) {
	out := planner.Output{Name: "v", Columns: []vector.Field{{Name: "b", Type: vector.Of(vector.Blob)}, {Name: "a b", Type: vector.Of(vector.Int64)}}}
	for format, want := range map[string]string{encode.JSON: `column "b": BLOB`, encode.Avro: `column "a b"`, encode.Protobuf: `column "a b"`} {
		err := Layout{Format: format}.Check(out)
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "\nHint: ") {
			t.Errorf("%s: %v, want %s", format, err, want)
		}
	}
}
