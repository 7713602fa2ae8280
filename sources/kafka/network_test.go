package kafka

import (
	"testing"

	"github.com/sluice-sql/sluice/internal/kafkatest"
	"github.com/sluice-sql/sluice/microbatch"
	"github.com/sluice-sql/sluice/sources/sourcetest"
)

// A network that is cut, stands still or crawls loses nothing, and no Poll hangs.
func TestFaults(t *testing.T) {
	kafkatest.Each(t, func(t *testing.T, c *kafkatest.Cluster) {
		topic := c.Topic(t, 3)
		fill(t, c, topic, 3, 10_000)
		net := kafkatest.NewNetwork()
		o := options(c, topic)
		// Why so small: what is buffered when the fault comes must not be all there is.
		o.Mode, o.BufferBytes, o.Client.Dial = "bounded", 1<<20, net.Dial
		faults := map[string]func(testing.TB) func(){}
		for _, mode := range []string{kafkatest.Cut, kafkatest.Stalled, kafkatest.Slow} {
			faults[mode] = func(testing.TB) func() { return net.Set(mode) }
		}
		sourcetest.RunFaults(t, sourcetest.Config{
			Open:    func(t testing.TB) microbatch.Source { return open(t, o) },
			Columns: columns, Partitioned: true, Bounded: true, Faults: faults,
		})
	})
}
