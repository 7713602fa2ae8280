package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/sluice-sql/sluice/internal/kafkatest"
)

// The Kafka part reads from a real broker, in a process of its own on the same machine: how many records a second go
// through a windowed aggregate into PostgreSQL when the topic was filled before, and how long a record takes from its
// producer to PostgreSQL's readers when 10,000 a second come.

// kafkaPartitions is how many partitions each topic has.
const kafkaPartitions = 4

// errNoJava says that this machine cannot run a broker.
var errNoJava = errors.New("there is no Java 17 or newer here, which a Kafka broker needs\nHint: apt-get install default-jre-headless maven")

var javaVersion = regexp.MustCompile(` version "(\d+)`)

// kafkaLib is where the broker's jars are; they are fetched if need be. An error says that no broker can be run here.
func kafkaLib(ctx context.Context) (string, error) {
	said, err := exec.CommandContext(ctx, "java", "-version").CombinedOutput()
	m := javaVersion.FindSubmatch(said)
	if err != nil || m == nil {
		return "", errNoJava
	}
	if version, err := strconv.Atoi(string(m[1])); err != nil || version < 17 {
		return "", errNoJava
	}
	if dir := os.Getenv("SLUICE_KAFKA_LIB"); dir != "" {
		return dir, nil
	}
	cmd := exec.CommandContext(ctx, "scripts/kafka.sh", "fetch")
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("fetch a Kafka broker: %w", err)
	}
	return strings.TrimSpace(string(out)), nil
}

// kafka measures both and writes the report.
func (b *bench) kafka(ctx context.Context, w io.Writer, lib, file string) (err error) {
	b.broker, err = kafkatest.Start(ctx, lib, 1)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.broker.Close()) }()
	if b.only == "" || b.only == "throughput" {
		results, err := b.kafkaThroughput(ctx, file)
		if err != nil {
			return err
		}
		reportThroughput(w, results)
	}
	if b.only == "" || b.only == "latency" {
		syscall.Sync() // the topics that were filled: their writing would hold up the log's
		results, err := b.kafkaLatency(ctx)
		if err != nil {
			return err
		}
		fmt.Fprintln(w)
		reportLatency(w, results)
	}
	return nil
}

// A brokerRun is one run over a filled topic.
type brokerRun struct {
	engineRun
	broker, postgres time.Duration // of the processors, while the engine ran
}

type throughput struct {
	compression string
	records     int64
	bytes       int64 // of the records' values
	runs        []brokerRun
}

// compressions are those of the topics: none is the default of Java's producers.
var compressions = []struct {
	name  string
	codec kgo.CompressionCodec
}{{"none", kgo.NoCompression()}, {"lz4", kgo.Lz4Compression()}}

func (b *bench) kafkaThroughput(ctx context.Context, file string) (results []*throughput, err error) {
	queries := map[*throughput]query{}
	for _, c := range compressions {
		r := &throughput{compression: c.name}
		topic := "bids-" + c.name
		if r.records, r.bytes, err = b.fill(ctx, topic, file, c.codec); err != nil {
			return nil, fmt.Errorf("fill topic %s: %w", topic, err)
		}
		if r.records != b.rows {
			return nil, fmt.Errorf("topic %s has %d records, and %s %d lines", topic, r.records, file, b.rows)
		}
		results, queries[r] = append(results, r), windowedBids(bidsOfTopic(b.broker.Addrs()[0], topic, bids(file, b.rows)))
	}
	for run := range b.runs {
		want, _, err := oneshot(ctx, queries[results[0]], 2)
		if err != nil {
			return nil, fmt.Errorf("one-shot DuckDB: %w", err)
		}
		for _, r := range results {
			v := variant{query: queries[r]}
			got, err := b.overBroker(ctx, v)
			if err != nil {
				return nil, err
			}
			if got.answer != want {
				return nil, fmt.Errorf("%s: the table says %q, one-shot DuckDB over the same lines %q", v.name(), got.answer, want)
			}
			r.runs = append(r.runs, got)
			b.note(run, "sluice: Kafka, "+r.compression, r.records, got.took)
		}
	}
	return results, nil
}

// overBroker runs the engine and looks at what the servers took of the processors meanwhile.
func (b *bench) overBroker(ctx context.Context, v variant) (r brokerRun, err error) {
	broker, postgres := b.brokerTime(), processorTime(b.server)
	r.engineRun, err = b.engine(ctx, v)
	r.broker, r.postgres = b.brokerTime()-broker, processorTime(b.server)-postgres
	return r, err
}

func (b *bench) brokerTime() (sum time.Duration) {
	for _, pid := range b.broker.PIDs() {
		sum += processorTime(pid)
	}
	return sum
}

// bidsOfTopic is the same input, read by sluice from a topic.
func bidsOfTopic(broker, topic string, in input) input {
	declaration, _, found := strings.Cut(in.source, "WITH (")
	if !found {
		panic("bench: a source without options")
	}
	in.source = declaration + fmt.Sprintf("WITH (connector = 'kafka', brokers = %s, topic = %s);\n", literal(broker), literal(topic))
	return in
}

// producer returns a client that writes to partitions by number.
func (b *bench) producer(opts ...kgo.Opt) (*kgo.Client, error) {
	return kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers(b.broker.Addrs()...), kgo.RecordPartitioner(kgo.ManualPartitioner())}, opts...)...)
}

func (b *bench) makeTopic(ctx context.Context, cl *kgo.Client, topic string) error {
	_, err := kadm.NewClient(cl).CreateTopic(ctx, kafkaPartitions, 1, nil, topic)
	return err
}

// fill writes the lines of a file to the partitions of a new topic, in turns.
func (b *bench) fill(ctx context.Context, topic, file string, codec kgo.CompressionCodec) (records, bytes int64, err error) {
	cl, err := b.producer(kgo.ProducerBatchCompression(codec), kgo.MaxBufferedRecords(100_000))
	if err != nil {
		return 0, 0, err
	}
	defer cl.Close()
	if err := b.makeTopic(ctx, cl, topic); err != nil {
		return 0, 0, err
	}
	f, err := os.Open(file)
	if err != nil {
		return 0, 0, err
	}
	defer f.Close()
	var mu sync.Mutex
	var failed error
	done := func(_ *kgo.Record, err error) {
		if err != nil {
			mu.Lock()
			defer mu.Unlock()
			failed = err
		}
	}
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		cl.Produce(ctx, &kgo.Record{Topic: topic, Partition: int32(records % kafkaPartitions), Value: slices.Clone(lines.Bytes())}, done)
		records++
		bytes += int64(len(lines.Bytes()))
	}
	err = errors.Join(lines.Err(), cl.Flush(ctx))
	mu.Lock()
	defer mu.Unlock()
	return records, bytes, errors.Join(err, failed)
}

// withoutBroker is the time that is left when what the broker took of the processors is taken off the clock, as if the
// engine and PostgreSQL had had all of them.
func (r brokerRun) withoutBroker() time.Duration {
	return r.took - r.broker/time.Duration(runtime.NumCPU())
}

func reportThroughput(w io.Writer, results []*throughput) {
	r := results[0]
	fmt.Fprintf(w, "Kafka → tumbling window → PostgreSQL: %s bids as JSON (%d bytes each) in %d partitions of one broker, written before; the broker, PostgreSQL and the engine share %d processors, at default settings. Medians of runs: %d.\n\n",
		thousands(r.records), r.bytes/r.records, kafkaPartitions, runtime.NumCPU(), len(r.runs))
	fmt.Fprintln(w, "| compression | seconds | records/s by the clock | CPU s of sluice | of PostgreSQL | of the broker | records/s without the broker's CPU | records per CPU second of sluice and PostgreSQL |")
	fmt.Fprintln(w, "|---|---|---|---|---|---|---|---|")
	goal := 0.0
	for _, r := range results {
		var times []time.Duration
		for _, run := range r.runs {
			times = append(times, run.took)
		}
		m := r.runs[slices.Index(times, median(times))]
		alone := m.withoutBroker()
		fmt.Fprintf(w, "| %s | %s | %s | %.2f | %.2f | %.2f | %s | %s |\n", r.compression, spread(times), rate(r.records, m.took), m.cpu.Seconds(), m.postgres.Seconds(), m.broker.Seconds(),
			rate(r.records, alone), rate(r.records, m.cpu+m.postgres))
		if r == results[0] {
			goal = float64(r.records) / alone.Seconds()
		}
	}
	fmt.Fprintf(w, "\nSeconds are from the open pipeline to the last commit; every answer is compared with one-shot DuckDB's over the same lines. CPU is that of whole processes from their start to their end (/proc/PID/stat, PostgreSQL with all its processes); "+
		"the broker, a process of its own, shares the processors, and its part is taken off the clock: records / (seconds − CPU of the broker / %d).\n", runtime.NumCPU())
	fmt.Fprintf(w, "\nGoal, at least 400,000 JSON records a second on 2 cores without the broker's own work: %s.\n", reached(goal >= 400_000))
}

func reached(yes bool) string {
	if yes {
		return "reached"
	}
	return "missed"
}
