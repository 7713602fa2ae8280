// Command kafka runs a Kafka until it is interrupted, for scripts/kafka.sh run.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/sluice-sql/sluice/internal/kafkatest"
)

func main() {
	nodes := flag.Int("nodes", 1, "how many nodes")
	flag.Parse()
	if err := run(*nodes); err != nil {
		fmt.Fprintln(os.Stderr, "kafka:", err)
		os.Exit(1)
	}
}

func run(nodes int) (err error) {
	if nodes < 1 {
		return errors.New("-nodes must be at least 1")
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	s, err := kafkatest.Start(ctx, os.Getenv("SLUICE_KAFKA_LIB"), nodes)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	fmt.Println(strings.Join(s.Addrs(), ","))
	fmt.Fprintln(os.Stderr, "running until interrupted")
	<-ctx.Done()
	return nil
}
