package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/twmb/franz-go/pkg/kgo"
)

const (
	latencyRate = 10_000 // records a second
	// latencyWarm is how many records come before those that count: a broker's first batches, and an engine's, are not
	// like the others.
	latencyWarm = latencyRate
	// observeEvery is how often the observer looks, which is in every figure.
	observeEvery = 2 * time.Millisecond
	// latencyPatience is how long the engine may take to come up, and to catch up at the end.
	latencyPatience = time.Minute

	undefinedTable = "42P01" // an SQLSTATE
)

// Why a row a partition: a partition's records become visible in their order, so that their number tells which of them
// are there, and the send time in the row, which is the newest one's, proves it.
const latencyPipeline = `SET trigger_interval = '20ms';
CREATE SOURCE bid (auction BIGINT, price BIGINT, sent BIGINT, part INTEGER METADATA FROM 'partition')
  WITH (connector = 'kafka', brokers = %s, topic = %s);
CREATE MATERIALIZED VIEW newest AS SELECT part, count(*) AS records, sum(price) AS total, max(sent) AS sent FROM bid GROUP BY part;
`

// A sending is a series of records at latencyRate, to the partitions in turns.
type sending struct {
	topic   string
	start   time.Time
	records int
}

// due is when the i-th record is to be sent. That is its send time, too: a producer that is held up does not hide the
// wait.
func (s *sending) due(i int) time.Time {
	return s.start.Add(time.Duration(i) * (time.Second / latencyRate))
}

// record is one; the primers, one a partition and sent before all others, have no send time.
func (s *sending) record(partition int, price int, sent int64) *kgo.Record {
	return &kgo.Record{Topic: s.topic, Partition: int32(partition), Value: fmt.Appendf(nil, `{"auction":%d,"price":%d,"sent":%d}`, 1000+price*7919%100_000, price, sent)}
}

// run sends each record when it is due, or a millisecond later, and returns when all have been acknowledged.
func (s *sending) run(ctx context.Context, cl *kgo.Client) error {
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	failed := make(chan error, 1)
	done := func(_ *kgo.Record, err error) {
		if err != nil {
			select {
			case failed <- err:
			default:
			}
		}
	}
	for i := 0; i < s.records; {
		for now := time.Now(); i < s.records && !s.due(i).After(now); i++ {
			cl.Produce(ctx, s.record(i%kafkaPartitions, i, s.due(i).UnixMicro()), done)
		}
		select {
		case <-tick.C:
		case err := <-failed:
			return err
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	if err := cl.Flush(ctx); err != nil {
		return err
	}
	select {
	case err := <-failed:
		return err
	default:
		return nil
	}
}

// A latencyRun is how long each record took, sorted.
type latencyRun struct {
	took                     []time.Duration
	batches                  int64
	sluice, postgres, broker time.Duration // of the processors, in all of the run
}

func (r latencyRun) percentile(p float64) time.Duration {
	return r.took[min(int(float64(len(r.took))*p/100), len(r.took)-1)]
}

func (b *bench) kafkaLatency(ctx context.Context) (runs []latencyRun, err error) {
	for run := range b.runs {
		r, err := b.latencyRun(ctx, fmt.Sprintf("latency-%d", run+1))
		if err != nil {
			return nil, err
		}
		fmt.Fprintf(os.Stderr, "run %d/%d  Kafka, latency of %s records: p50 %.1f ms, p99 %.1f ms, most %.1f ms\n", run+1, b.runs, thousands(int64(len(r.took))), ms(r.percentile(50)), ms(r.percentile(99)), ms(r.percentile(100)))
		runs = append(runs, r)
	}
	slices.SortFunc(runs, func(x, y latencyRun) int { return int(x.percentile(99) - y.percentile(99)) })
	return runs, nil
}

// latencyRun has an engine follow a topic while records are sent to it.
func (b *bench) latencyRun(ctx context.Context, topic string) (r latencyRun, err error) {
	dir, done, err := b.scratch(ctx, "newest")
	if err != nil {
		return r, err
	}
	defer done(&err)
	cl, err := b.producer(kgo.ProducerLinger(0))
	if err != nil {
		return r, err
	}
	defer cl.Close()
	if err := b.makeTopic(ctx, cl, topic); err != nil {
		return r, err
	}
	file := filepath.Join(dir, "latency.sql")
	if err := os.WriteFile(file, fmt.Appendf(nil, latencyPipeline, literal(b.broker.Addrs()[0]), literal(topic)), 0o644); err != nil {
		return r, err
	}
	broker, postgres := b.brokerTime(), processorTime(b.server)
	s := &sending{topic: topic, records: latencyWarm + int(max(2*latencyRate, b.rows/10))}
	series, cancel := context.WithTimeoutCause(ctx, 2*latencyPatience+time.Duration(s.records)*(time.Second/latencyRate), errors.New("the engine does not keep up"))
	defer cancel()
	cmd := exec.CommandContext(series, b.sluice, "run", file, "--json", "--postgres", b.postgres, "--state-dir", dir)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	if err := cmd.Start(); err != nil {
		return r, err
	}
	series, end := context.WithCancelCause(series)
	exited := make(chan struct{})
	go func() {
		defer close(exited)
		end(fmt.Errorf("%s ended: %w\n%s", cmd, cmd.Wait(), stderr.String()))
	}()
	seen, err := b.latencySeries(series, cl, s)
	if serr := cmd.Process.Signal(syscall.SIGTERM); err == nil {
		err = serr
	}
	<-exited // with 130: it was interrupted
	if err != nil {
		return r, err
	}
	r.broker, r.postgres = b.brokerTime()-broker, processorTime(b.server)-postgres
	r.sluice = cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
	if r.took, err = s.latencies(seen); err != nil {
		return r, err
	}
	return r, b.inPostgres(ctx, func(conn *pgx.Conn) error {
		var total int64
		if err := conn.QueryRow(ctx, "SELECT sum(total)::BIGINT, (SELECT count(*) FROM sluice.batches) FROM newest").Scan(&total, &r.batches); err != nil {
			return err
		}
		if n := int64(s.records); total != n*(n-1)/2 {
			return fmt.Errorf("the table's total is %d, and that of the records %d", total, n*(n-1)/2)
		}
		return nil
	})
}

// latencySeries sends the series and looks at the table until all of it is there.
func (b *bench) latencySeries(ctx context.Context, cl *kgo.Client, s *sending) ([]observation, error) {
	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	conn, err := pgx.Connect(ctx, b.postgres)
	if err != nil {
		return nil, err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	for p := range kafkaPartitions {
		if err := cl.ProduceSync(ctx, s.record(p, 0, 0)).FirstErr(); err != nil {
			return nil, err
		}
	}
	if _, err := observe(ctx, conn, kafkaPartitions); err != nil {
		return nil, err
	}
	s.start = time.Now()
	go func() {
		if err := s.run(ctx, cl); err != nil {
			fail(fmt.Errorf("send records: %w", err))
		}
	}()
	return observe(ctx, conn, kafkaPartitions+s.records)
}

// An observation is what an answer of PostgreSQL's says of a partition, and when the answer was there.
type observation struct {
	at            time.Time
	partition     int
	records, sent int64
}

// observe looks at the table until it answers for so many records, and returns what changed when.
func observe(ctx context.Context, conn *pgx.Conn, records int) (seen []observation, err error) {
	tick := time.NewTicker(observeEvery)
	defer tick.Stop()
	var last [kafkaPartitions]int64
	for {
		now, err := look(ctx, conn)
		if err != nil {
			return nil, errors.Join(context.Cause(ctx), err)
		}
		sum := 0
		for _, o := range now {
			if sum += int(o.records); o.records != last[o.partition] {
				last[o.partition] = o.records
				seen = append(seen, o)
			}
		}
		if sum >= records {
			return seen, nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// look asks once; a table that is not there yet has no rows.
func look(ctx context.Context, conn *pgx.Conn) (now []observation, err error) {
	rows, err := conn.Query(ctx, "SELECT part, records, sent FROM newest")
	if err == nil {
		now, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (o observation, err error) {
			return o, row.Scan(&o.partition, &o.records, &o.sent)
		})
	}
	var pg *pgconn.PgError
	if errors.As(err, &pg) && pg.Code == undefinedTable {
		return nil, nil
	}
	at := time.Now()
	for i := range now {
		now[i].at = at
	}
	return now, err
}

// latencies are those of all records that count, sorted. It fails unless the table answered for every record, and the
// newest one's send time was always the one in the row.
func (s *sending) latencies(seen []observation) (took []time.Duration, err error) {
	var visible [kafkaPartitions]int64
	for _, o := range seen {
		n := o.records - 1 // without the primer
		if newest := int(n-1)*kafkaPartitions + o.partition; n > 0 && s.due(newest).UnixMicro() != o.sent {
			return nil, fmt.Errorf("partition %d: after %d records the newest send time is %d, and the row says %d", o.partition, n, s.due(newest).UnixMicro(), o.sent)
		}
		for ; visible[o.partition] < n; visible[o.partition]++ {
			if i := int(visible[o.partition])*kafkaPartitions + o.partition; i >= latencyWarm {
				took = append(took, o.at.Sub(s.due(i)))
			}
		}
	}
	if want := s.records - latencyWarm; len(took) != want {
		return nil, fmt.Errorf("%d records became visible of %d", len(took), want)
	}
	slices.Sort(took)
	return took, nil
}

func reportLatency(w io.Writer, runs []latencyRun) {
	m := runs[(len(runs)-1)/2]
	fmt.Fprintf(w, "Kafka → PostgreSQL, latency: %s JSON records a second, sent evenly from the benchmark's process to %d partitions (acknowledged by the broker, no linger), trigger 20 ms, default settings. A record's latency is from when it was due to be sent, "+
		"which is in its column `sent`, until an answer of PostgreSQL's had it: another session asks every %d ms, which is in the figures, for the view's rows, each with the number of records and the newest `sent` of a partition. "+
		"Producer, broker, engine, PostgreSQL and observer share %d processors. The first second does not count.\n\n", thousands(latencyRate), kafkaPartitions, observeEvery.Milliseconds(), runtime.NumCPU())
	fmt.Fprintln(w, "| run, by p99 | records | batches | p50 | p90 | p99 | p99.9 | most | CPU s of sluice | of PostgreSQL | of the broker |\n|---|---|---|---|---|---|---|---|---|---|---|")
	for i, r := range runs {
		fmt.Fprintf(w, "| %d | %s | %s |", i+1, thousands(int64(len(r.took))), thousands(r.batches))
		for _, p := range []float64{50, 90, 99, 99.9, 100} {
			fmt.Fprintf(w, " %.1f ms |", ms(r.percentile(p)))
		}
		fmt.Fprintf(w, " %.2f | %.2f | %.2f |\n", r.sluice.Seconds(), r.postgres.Seconds(), r.broker.Seconds())
	}
	fmt.Fprintln(w, "\nAll records of the median run, by latency:\n\n```")
	histogram(w, m.took)
	fmt.Fprintf(w, "```\n\nGoal, p99 of at most 100 ms: %s.\n", reached(m.percentile(99) <= 100*time.Millisecond))
}

// histogram writes a bar for each of the sorted durations' buckets, whose bounds go 1, 2, 5, 10 ….
func histogram(w io.Writer, sorted []time.Duration) {
	const width = 50
	type bucket struct {
		bound time.Duration
		n     int
	}
	var buckets []bucket
	most := 0
	for i, bound := 0, time.Millisecond; i < len(sorted); {
		n, _ := slices.BinarySearch(sorted[i:], bound+1)
		if i += n; i > 0 {
			buckets = append(buckets, bucket{bound, n})
			most = max(most, n)
		}
		if first := fmt.Sprint(bound.Milliseconds())[0]; first == '2' {
			bound = bound * 5 / 2
		} else {
			bound *= 2
		}
	}
	for _, b := range buckets {
		bar := strings.Repeat("#", (b.n*width+most-1)/most)
		fmt.Fprintln(w, strings.TrimRight(fmt.Sprintf("up to %6d ms %9s  %6.2f %%  %s", b.bound.Milliseconds(), thousands(int64(b.n)), 100*float64(b.n)/float64(len(sorted)), bar), " "))
	}
}
