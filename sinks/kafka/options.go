package kafka

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/sluice-sql/sluice/internal/kafkaclient"
	"github.com/sluice-sql/sluice/internal/vector"
	"github.com/sluice-sql/sluice/planner"
	"github.com/sluice-sql/sluice/sinks/kafka/encode"
)

// Modes that Layout knows.
const (
	ModeAppend   = "append"   // a record a row, of append-only views
	ModeUpsert   = "upsert"   // a record a key, of keyed views; no value means that the row is gone
	ModeDebezium = "debezium" // change events with the row before and after
)

// Partitioners and compressions that Options knows; the first is the default.
var (
	Modes        = []string{ModeAppend, ModeUpsert, ModeDebezium}
	Partitioners = []string{"murmur2", "sticky", "round_robin"}
	Compressions = []string{"snappy", "none", "gzip", "lz4", "zstd"}
)

// Names of the topics that pipelines share.
const (
	LedgerTopic     = "sluice.ledger"
	DeadLetterTopic = "sluice.dead_letter"
)

// Options configure a sink.
type Options struct {
	Client kafkaclient.Options
	// Name is the sink's, unique in its pipeline. Required.
	Name   string
	Layout Layout
	// Partitions and Replication are those of a topic that is created. Default to the cluster's defaults.
	Partitions  int32
	Replication int16
	// Partitioner is one of Partitioners. "murmur2" puts equal keys into one partition, as Java's clients do, and
	// spreads records without a key. Defaults to "murmur2".
	Partitioner string
	// Compression is one of Compressions. Defaults to "snappy".
	Compression string
	// Registry keeps the schemas of Avro and Protobuf.
	Registry Registry
	// TransactionTimeout is when the brokers abort a transaction by themselves: how long a dead engine can keep readers
	// of the topic waiting. Defaults to 1 minute.
	TransactionTimeout time.Duration
	// LedgerTopic defaults to the constant of that name.
	LedgerTopic string
	// DeadLetters keeps refused rows in DeadLetterTopic. Defaults to leaving that to another sink.
	DeadLetters bool
	// DeadLetterTopic defaults to the constant of that name.
	DeadLetterTopic string
}

// Layout is what must stay the same over all batches of a topic.
type Layout struct {
	// Topic defaults to the view's name.
	Topic string `json:"topic"`
	// Mode is one of Modes. Defaults to "append".
	Mode string `json:"mode"`
	// Format is how values are written: "json", "avro" or "protobuf". Defaults to "json".
	Format string `json:"format"`
	// KeyFormat is how keys are written: as Format, or "text" for a single column. Defaults to Format.
	KeyFormat string `json:"key_format"`
	// Key names the columns of the record's key. Defaults to the view's key in mode upsert and debezium, to no key in
	// mode append.
	Key []string `json:"key,omitempty"`
}

// WithDefaults fills in the defaults for a view.
func (l Layout) WithDefaults(out planner.Output) Layout {
	def := func(s *string, v string) {
		if *s == "" {
			*s = v
		}
	}
	def(&l.Topic, out.Name)
	def(&l.Mode, ModeAppend)
	def(&l.Format, encode.JSON)
	def(&l.KeyFormat, l.Format)
	if len(l.Key) == 0 {
		l.Key = nil
		if l.Mode != ModeAppend {
			for _, k := range out.Key {
				l.Key = append(l.Key, out.Columns[k].Name)
			}
		}
	}
	return l
}

// keyed says that every record has a key, be it one without columns: the only row of an ungrouped aggregate.
func (l Layout) keyed(out planner.Output) bool {
	return len(l.Key) > 0 || l.Mode == ModeUpsert || l.Mode == ModeDebezium && out.Keyed
}

// Check returns all that is wrong with the layout for an output, joined. Each message begins with the option that it
// is about and " = ", or with the column.
func (l Layout) Check(out planner.Output) error {
	return errors.Join(append(l.CheckColumns(out), l.CheckOptions(out))...)
}

// CheckColumns says which columns the records cannot have.
func (l Layout) CheckColumns(out planner.Output) (errs []error) {
	l = l.WithDefaults(out)
	for _, c := range out.Columns {
		if hint := encode.Unsupported(l.Format, c); hint != "" {
			errs = append(errs, fmt.Errorf("column %q: %s cannot be written as %s\nHint: %s", c.Name, c.Type, l.Format, hint))
		}
	}
	return errs
}

// CheckOptions says what is wrong with the options.
func (l Layout) CheckOptions(out planner.Output) error {
	l = l.WithDefaults(out)
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if !slices.Contains(Modes, l.Mode) {
		bad("mode = '%s' is not known\nHint: use '%s'", l.Mode, strings.Join(Modes, "', '"))
	}
	if err := validTopic(l.Topic); err != nil {
		bad("topic = '%s' %w", l.Topic, err)
	}
	if !slices.Contains(encode.Formats, l.Format) {
		return errors.Join(append(errs, fmt.Errorf("format = '%s' is not known\nHint: use '%s'", l.Format, strings.Join(encode.Formats, "', '")))...)
	}
	if l.Mode == ModeUpsert && out.Mode == planner.Append {
		bad("mode = 'upsert' needs a view with a key, and the rows of view %s are only ever added\nHint: use mode = 'append', with key = '…' if records should have one", out.Name)
	}
	at, err := columnsOf(l.Key, out)
	errs = append(errs, err)
	if err == nil && l.Mode != ModeAppend && (out.Mode == planner.Upsert || out.Keyed) && !sameSet(at, out.Key) {
		bad("key = '%s' is not the key of view %s\nHint: leave the option out, or name exactly the columns %s", strings.Join(l.Key, "', '"), out.Name, names(out, out.Key))
	}
	if err == nil && l.Mode == ModeDebezium && len(l.Key) > 0 && out.Mode == planner.Multiset && !out.Keyed {
		bad("key = '%s' is not for view %s, whose rows have no key\nHint: leave the option out", strings.Join(l.Key, "', '"), out.Name)
	}
	if l.KeyFormat != l.Format && l.KeyFormat != encode.JSON && l.KeyFormat != encode.Text {
		bad("key_format = '%s' is not for format = '%s'\nHint: use '%s', 'json' or 'text'", l.KeyFormat, l.Format, l.Format)
	}
	if l.KeyFormat == encode.Text && (len(at) != 1 || out.Columns[at[0]].Type.IsNested()) {
		bad("key_format = 'text' needs a key of one column that is not nested\nHint: use key_format = 'json'")
	}
	if err == nil && l.KeyFormat != l.Format && l.KeyFormat != encode.Text {
		for _, k := range at {
			if hint := encode.Unsupported(l.KeyFormat, out.Columns[k]); hint != "" {
				bad("key_format = '%s' cannot have column %s, a %s\nHint: %s", l.KeyFormat, out.Columns[k].Name, out.Columns[k].Type, hint)
			}
		}
	}
	return errors.Join(errs...)
}

// validTopic is Kafka's rule for names.
func validTopic(name string) error {
	bad := func(r rune) bool {
		return r != '.' && r != '_' && r != '-' && (r < '0' || r > '9') && (r < 'A' || r > 'Z') && (r < 'a' || r > 'z')
	}
	if name == "." || name == ".." || len(name) > 249 || strings.ContainsFunc(name, bad) || name == "" {
		return errors.New("is no name for a topic\nHint: use letters, digits, '.', '_' and '-', 249 at most")
	}
	return nil
}

func columnsOf(key []string, out planner.Output) (at []int, err error) {
	var errs []error
	for _, name := range key {
		i := slices.IndexFunc(out.Columns, func(c vector.Field) bool { return strings.EqualFold(c.Name, name) })
		switch {
		case i < 0:
			all := make([]int, len(out.Columns))
			for j := range all {
				all[j] = j
			}
			errs = append(errs, fmt.Errorf("key = %q is not a column of view %s\nHint: the columns are %s", name, out.Name, names(out, all)))
		case slices.Contains(at, i):
			errs = append(errs, fmt.Errorf("key = %q is named twice", name))
		default:
			at = append(at, i)
		}
	}
	return at, errors.Join(errs...)
}

func names(out planner.Output, at []int) string {
	var list []string
	for _, i := range at {
		list = append(list, out.Columns[i].Name)
	}
	return strings.Join(list, ", ")
}

func sameSet(a, b []int) bool {
	a, b = slices.Sorted(slices.Values(a)), slices.Sorted(slices.Values(b))
	return slices.Equal(a, b)
}

func (o *Options) setDefaults() error {
	if o.Name == "" {
		return errors.New("kafka sink: it has no name")
	}
	if o.Partitions == 0 {
		o.Partitions = -1
	}
	if o.Replication == 0 {
		o.Replication = -1
	}
	if o.Partitioner == "" {
		o.Partitioner = Partitioners[0]
	}
	if o.Compression == "" {
		o.Compression = Compressions[0]
	}
	if o.TransactionTimeout == 0 {
		o.TransactionTimeout = time.Minute
	}
	if o.LedgerTopic == "" {
		o.LedgerTopic = LedgerTopic
	}
	if o.DeadLetterTopic == "" {
		o.DeadLetterTopic = DeadLetterTopic
	}
	return o.Client.Validate()
}

func (o *Options) codec() kgo.CompressionCodec {
	switch o.Compression {
	case "none":
		return kgo.NoCompression()
	case "gzip":
		return kgo.GzipCompression()
	case "lz4":
		return kgo.Lz4Compression()
	case "zstd":
		return kgo.ZstdCompression()
	}
	return kgo.SnappyCompression()
}

// placing is the partitioner. The ledger's records, and they alone, say themselves where they go.
type placing struct {
	ledger string
	rest   kgo.Partitioner
}

func (o *Options) partitioner() kgo.Partitioner {
	p := placing{ledger: o.LedgerTopic}
	switch o.Partitioner {
	case "sticky":
		p.rest = kgo.StickyPartitioner()
	case "round_robin":
		p.rest = kgo.RoundRobinPartitioner()
	default:
		p.rest = kgo.StickyKeyPartitioner(nil) // murmur2, as Java's clients hash
	}
	return p
}

func (p placing) ForTopic(topic string) kgo.TopicPartitioner {
	if topic == p.ledger {
		return kgo.ManualPartitioner().ForTopic(topic)
	}
	return p.rest.ForTopic(topic)
}
