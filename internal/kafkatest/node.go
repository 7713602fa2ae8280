package kafkatest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// A node is one Kafka server, broker and controller in one process.
type node struct {
	id                        int
	dir                       string
	plain, secure, controller int // ports
	cmd                       *exec.Cmd
	exited                    chan struct{}
	watchdog                  func() error // ends the shell that guard started
}

// startTimeout bounds how long a node may take to answer: a JVM on a loaded machine takes its time.
const startTimeout = 3 * time.Minute

// clusterID names every cluster: they never meet.
const clusterID = "c2x1aWNlLXRlc3Qta2Fma2E"

// properties is the node's server.properties. Timeouts are short, so that a killed node is missed soon.
func (n *node) properties(all []*node, pem string) string {
	var voters []string
	for _, o := range all {
		voters = append(voters, fmt.Sprintf("%d@127.0.0.1:%d", o.id, o.controller))
	}
	copies := len(all)
	jaas := "org.apache.kafka.common.security.plain.PlainLoginModule required"
	for user, password := range Users {
		jaas += fmt.Sprintf(" user_%s=%q", user, password)
	}
	lines := []string{
		"process.roles=broker,controller",
		fmt.Sprintf("node.id=%d", n.id),
		"controller.quorum.voters=" + strings.Join(voters, ","),
		fmt.Sprintf("listeners=PLAINTEXT://127.0.0.1:%d,SASL_SSL://127.0.0.1:%d,CONTROLLER://127.0.0.1:%d", n.plain, n.secure, n.controller),
		fmt.Sprintf("advertised.listeners=PLAINTEXT://127.0.0.1:%d,SASL_SSL://127.0.0.1:%d", n.plain, n.secure),
		"listener.security.protocol.map=PLAINTEXT:PLAINTEXT,SASL_SSL:SASL_SSL,CONTROLLER:PLAINTEXT",
		"controller.listener.names=CONTROLLER",
		"inter.broker.listener.name=PLAINTEXT",
		"log.dirs=" + filepath.Join(n.dir, "data"),
		"auto.create.topics.enable=false",
		"num.network.threads=2", "num.io.threads=4", "num.replica.fetchers=1", "background.threads=2",
		"offsets.topic.num.partitions=3", fmt.Sprintf("offsets.topic.replication.factor=%d", copies),
		"transaction.state.log.num.partitions=3", fmt.Sprintf("transaction.state.log.replication.factor=%d", copies),
		fmt.Sprintf("transaction.state.log.min.isr=%d", min(copies, 2)),
		"share.coordinator.state.topic.num.partitions=1", fmt.Sprintf("share.coordinator.state.topic.replication.factor=%d", copies),
		"group.initial.rebalance.delay.ms=0",
		"broker.heartbeat.interval.ms=500", "broker.session.timeout.ms=6000", "controlled.shutdown.enable=true",
		"controller.quorum.election.timeout.ms=1000", "controller.quorum.fetch.timeout.ms=2000",
		"replica.lag.time.max.ms=6000",
		// Compaction and retention look at once instead of every few minutes.
		"log.initial.task.delay.ms=200", "log.retention.check.interval.ms=300", "log.cleaner.backoff.ms=200",
		"log.cleaner.dedupe.buffer.size=4194304", "log.segment.delete.delay.ms=100",
		"message.max.bytes=33554432", "replica.fetch.max.bytes=33554432",
		"authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer",
		"super.users=User:ANONYMOUS",
		"sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256,SCRAM-SHA-512",
		"listener.name.sasl_ssl.plain.sasl.jaas.config=" + jaas + ";",
		"listener.name.sasl_ssl.scram-sha-256.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;",
		"listener.name.sasl_ssl.scram-sha-512.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;",
		"ssl.keystore.type=PEM", "ssl.keystore.location=" + pem,
	}
	return strings.Join(lines, "\n") + "\n"
}

const log4j = `status = error
appender.out.type = Console
appender.out.name = out
appender.out.layout.type = PatternLayout
appender.out.layout.pattern = %d{HH:mm:ss.SSS} %-5p %c{1}: %m%n
rootLogger.level = warn
rootLogger.appenderRef.out.ref = out
`

// java returns a command that runs a class of Kafka's. It gets a process group of its own: an interrupt at the
// terminal is for whoever started the cluster.
func (n *node) java(lib string, args ...string) *exec.Cmd {
	// Why these flags: a broker for tests is better up soon than fast in the end.
	cmd := exec.Command("java", append([]string{"-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xms64m", "-Xmx512m",
		"-Dlog4j2.configurationFile=" + filepath.Join(n.dir, "log4j2.properties"), "-Djava.io.tmpdir=" + n.dir,
		"-cp", filepath.Join(lib, "*")}, args...)...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	return cmd
}

// format writes the node's files.
func (n *node) format(lib string, all []*node, pem string) error {
	if err := os.MkdirAll(n.dir, 0o755); err != nil {
		return err
	}
	for name, text := range map[string]string{"server.properties": n.properties(all, pem), "log4j2.properties": log4j} {
		if err := os.WriteFile(filepath.Join(n.dir, name), []byte(text), 0o600); err != nil {
			return err
		}
	}
	out, err := n.java(lib, "kafka.tools.StorageTool", "format", "-t", clusterID, "-c", filepath.Join(n.dir, "server.properties")).CombinedOutput()
	if err != nil {
		return fmt.Errorf("format the storage of Kafka node %d: %w\n%s", n.id, err, out)
	}
	return nil
}

// start starts the process; ready waits until it answers.
func (n *node) start(lib string) error {
	log, err := os.OpenFile(filepath.Join(n.dir, "server.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer log.Close()
	cmd := n.java(lib, "kafka.Kafka", filepath.Join(n.dir, "server.properties"))
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start Kafka node %d: %w", n.id, err)
	}
	n.cmd, n.exited = cmd, make(chan struct{})
	go func(done chan struct{}) {
		_ = cmd.Wait() // how it ended does not matter: it is killed most of the time
		close(done)
	}(n.exited)
	return n.guard()
}

// guard starts a shell that kills the node when this process is gone: its standard input is a pipe that the
// kernel closes then.
func (n *node) guard() error {
	script := fmt.Sprintf(`trap "" INT; read -r line || { kill -KILL %d; sleep 1; rm -rf %q; }`, n.cmd.Process.Pid, filepath.Dir(n.dir))
	dog := exec.Command("sh", "-c", script)
	dog.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	in, err := dog.StdinPipe()
	if err != nil {
		return errors.Join(err, n.end(syscall.SIGKILL))
	}
	if err := dog.Start(); err != nil {
		return errors.Join(err, n.end(syscall.SIGKILL))
	}
	n.watchdog = func() error {
		_, err := io.WriteString(in, "bye\n")
		return errors.Join(err, dog.Wait())
	}
	return nil
}

// end sends the node a signal and waits until it is gone.
func (n *node) end(sig syscall.Signal) error {
	if n.cmd == nil {
		return nil
	}
	if n.watchdog != nil {
		err := n.watchdog()
		if n.watchdog = nil; err != nil {
			return err
		}
	}
	select {
	case <-n.exited:
	default:
		if err := n.cmd.Process.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
			return err
		}
	}
	select {
	case <-n.exited:
	case <-time.After(startTimeout):
		_ = n.cmd.Process.Kill()
		<-n.exited
	}
	n.cmd = nil
	return nil
}

// ready waits until the node takes connections, which a broker does once it is part of the cluster.
func (n *node) ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	addr := fmt.Sprintf("127.0.0.1:%d", n.plain)
	for {
		c, err := (&net.Dialer{}).DialContext(ctx, "tcp", addr)
		if err == nil {
			return c.Close()
		}
		select {
		case <-n.exited:
			return fmt.Errorf("kafka node %d ended while starting:\n%s", n.id, n.tail())
		case <-ctx.Done():
			return fmt.Errorf("kafka node %d does not answer at %s:\n%s", n.id, addr, n.tail())
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// tail is the end of what the node logged, without the frames of stack traces.
func (n *node) tail() string {
	text, err := os.ReadFile(filepath.Join(n.dir, "server.log"))
	if err != nil {
		return err.Error()
	}
	var out strings.Builder
	for line := range strings.Lines(string(text)) {
		if !strings.HasPrefix(line, "\tat ") {
			out.WriteString(line)
		}
	}
	return out.String()[max(0, out.Len()-4000):]
}
