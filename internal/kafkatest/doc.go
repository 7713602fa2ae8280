// Package kafkatest gives tests a Kafka to talk to: a broker in the process, kfake, and a real one, Apache
// Kafka in KRaft mode from its artifacts on Maven Central, of one node or of three. Each runs a test against
// both.
//
// The real one needs Java and its jars, which scripts/kafka.sh fetches; SLUICE_KAFKA_LIB names their directory,
// as `make test-kafka` does. Without it tests against a real broker are skipped. Every node is ended by its
// pid: by the test's cleanup, and by a watchdog when the test binary itself is killed.
//
// A node has two listeners: one without encryption, whose clients may do everything, and one with TLS and SASL
// (PLAIN and SCRAM), whose users may do what ACLs allow them.
package kafkatest
