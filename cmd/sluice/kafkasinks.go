package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/sluice-sql/sluice/internal/schemaregistry"
	"github.com/sluice-sql/sluice/microbatch"
	"github.com/sluice-sql/sluice/planner/ddl"
	"github.com/sluice-sql/sluice/server"
	kafkasink "github.com/sluice-sql/sluice/sinks/kafka"
	"github.com/sluice-sql/sluice/sinks/kafka/encode"
)

// kafkaSinkOptionsOf checks the options of a Kafka sink against its view.
func (l *loaded) kafkaSinkOptionsOf(b sinkBinding, v ddl.Values) (kafkasink.Options, error) {
	o := kafkaSinkFrom(v, l.BaseDir, b.Name)
	o.Layout = kafkasink.Layout{Topic: v.String("topic"), Mode: v.String("mode"), Format: v.String("format"), KeyFormat: v.String("key_format"), Key: v.List("key")}
	var problems []error
	registry := o.Registry.URL != ""
	switch needs := o.Layout.Format != encode.JSON || o.Layout.KeyFormat == encode.Avro || o.Layout.KeyFormat == encode.Protobuf; {
	case needs && !registry:
		problems = append(problems, v.Errorf("format", "format %q needs a schema registry", o.Layout.Format).WithHint("add schema_registry = 'http://host:8081'"))
	case registry && !needs:
		problems = append(problems, v.Errorf("schema_registry", "option \"schema_registry\" is for avro and protobuf, and the format is %s", o.Layout.Format).WithHint("remove it"))
	case registry:
		if _, err := schemaregistry.New(o.Registry.Options); err != nil {
			problems = append(problems, l.positioned(b.Decl.With, nil, err))
		}
	}
	if t := o.TransactionTimeout; t <= 0 {
		problems = append(problems, v.Errorf("transaction_timeout", "option \"transaction_timeout\" is %s", t).WithHint("say how long, as in '1m'"))
	}
	problems = append(problems, l.positioned(b.Decl.With, nil, o.Client.Validate()), l.positioned(b.Decl.With, nil, o.Layout.CheckOptions(b.output)))
	for _, problem := range o.Layout.CheckColumns(b.output) {
		message, hint, _ := strings.Cut(problem.Error(), "\nHint: ")
		problems = append(problems, l.file.Errorf(b.Decl.From.Span, "%s", message).WithHint("%s", hint))
	}
	o.Layout = o.Layout.WithDefaults(b.output)
	return o, ddl.Join(problems...)
}

// kafkaSinkFrom are the options that no view has to be known for.
func kafkaSinkFrom(v ddl.Values, base, name string) kafkasink.Options {
	return kafkasink.Options{Client: kafkaClient(v, base), Name: name, Partitions: int32(v.Int("partitions")), Replication: int16(v.Int("replication_factor")),
		Partitioner: v.String("partitioner"), Compression: v.String("compression"), TransactionTimeout: v.Duration("transaction_timeout"),
		LedgerTopic: v.String("ledger_topic"), DeadLetterTopic: v.String("dead_letter_topic"),
		Registry: kafkasink.Registry{Options: schemaregistry.Options{URL: v.String("schema_registry"), User: v.String("schema_registry_user"), Password: v.String("schema_registry_password")}}}
}

// kafkaSinks lists the sinks that write to topics. Without PostgreSQL and files the first one keeps the dead letters.
func (l *loaded) kafkaSinks() []sinkBinding {
	var out []sinkBinding
	for _, b := range l.sinks {
		if b.kind == toKafka {
			b.kafka.DeadLetters = len(out) == 0 && !l.needsPostgres() && len(l.fileSinks()) == 0
			out = append(out, b)
		}
	}
	return out
}

// openKafkaSinks constructs a sink a topic.
func (l *loaded) openKafkaSinks() ([]microbatch.BoundSink, error) {
	var out []microbatch.BoundSink
	for _, b := range l.kafkaSinks() {
		sink, err := kafkasink.New(b.kafka)
		if err != nil {
			return out, err
		}
		out = append(out, microbatch.BoundSink{Sink: sink, Name: "topic " + b.kafka.Layout.Topic, Targets: []microbatch.Target{{Output: b.output, Options: b.options}}})
	}
	return out, nil
}

// checkKafkaSinks compares the clusters with the views, and changes nothing. It says of each topic whether it is there.
func (l *loaded) checkKafkaSinks(ctx context.Context, note func(topic, how string)) error {
	for _, b := range l.kafkaSinks() {
		sink, err := kafkasink.New(b.kafka)
		if err != nil {
			return err
		}
		exists, err := sink.Check(ctx, l.Name, microbatch.Target{Output: b.output})
		if err = errors.Join(err, sink.Close()); err != nil {
			return err
		}
		how := "will be made"
		if exists {
			how = "fits"
		}
		note(b.kafka.Layout.Topic, how)
	}
	return nil
}

// topics are those of every Kafka sink.
func (l *loaded) topics() []string {
	var out []string
	for _, b := range l.kafkaSinks() {
		out = append(out, b.kafka.Layout.Topic)
	}
	return out
}

// dropTopics removes what a pipeline's Kafka sinks have. The text is only parsed, as for files.
func (a *app) dropTopics(ctx context.Context, s server.Spec, tables server.Tables) (dropped []string, err error) {
	f, err := ddl.Parse(s.File, []byte(s.SQL), a.env)
	if err != nil {
		return nil, err
	}
	var sinks []*kafkasink.Sink
	defer func() {
		for _, s := range sinks {
			err = errors.Join(err, s.Close())
		}
	}()
	for _, st := range f.Statements {
		sink, ok := st.(*ddl.Sink)
		if !ok {
			continue
		}
		if connector, _ := sink.With.Get("connector"); connector != "kafka" {
			continue
		}
		v, err := checkSink(sink)
		if err != nil {
			return nil, err
		}
		k, err := kafkasink.New(kafkaSinkFrom(v, s.Dir, sink.Name.Name))
		if err != nil {
			return nil, err
		}
		sinks = append(sinks, k)
	}
	kept := kafkasink.KeepTopic
	if tables == server.DropTables {
		kept = kafkasink.DropTopic
	}
	if len(sinks) > 1 { // see microbatch.Fencer
		for _, k := range sinks {
			if k.Fence(ctx, s.Name) != nil {
				break // what matters of it, Drop says: a sink that was never opened needs no transactional id
			}
		}
	}
	var problems []error
	for _, k := range sinks {
		topic, err := k.Drop(ctx, s.Name, kept)
		if problems = append(problems, err); topic != "" {
			dropped = append(dropped, "topic "+topic)
		}
	}
	return dropped, errors.Join(problems...)
}

// sameTopic says that two sinks write to one topic.
func sameTopic(a, b kafkasink.Options) bool {
	return a.Layout.Topic == b.Layout.Topic && slices.Equal(a.Client.Brokers, b.Client.Brokers)
}

// whereLetters says where refused rows are.
func (l *loaded) whereLetters() string {
	switch {
	case l.needsPostgres():
		return "sluice.dead_letter"
	case len(l.fileSinks()) > 0:
		return l.fileSinks()[0].files.Dir + "/batch-*/.dead_letter"
	}
	return fmt.Sprintf("topic %s", l.kafkaSinks()[0].kafka.DeadLetterTopic)
}
