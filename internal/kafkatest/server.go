package kafkatest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
)

// Users are who may log in with PLAIN, and their passwords. SCRAM users are made with kadm.
var Users = map[string]string{"alice": "alice-secret", "mallory": "mallory-secret"}

// Server is a real Kafka of one node or more.
type Server struct {
	dir, lib string
	nodes    []*node
	ports    *ports
	cert     []byte
}

// Start formats and starts n nodes in a fresh temporary directory, with the jars in lib.
func Start(ctx context.Context, lib string, n int) (_ *Server, err error) {
	dir, err := os.MkdirTemp("", "kafkatest")
	if err != nil {
		return nil, err
	}
	s := &Server{dir: dir, lib: lib, ports: &ports{}}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.Close())
		}
	}()
	cert, key, err := Certificate()
	if err != nil {
		return nil, err
	}
	s.cert = cert
	pem := filepath.Join(dir, "server.pem")
	if err := os.WriteFile(pem, append(key, cert...), 0o600); err != nil {
		return nil, err
	}
	if s.ports, err = holdPorts(3 * n); err != nil {
		return nil, err
	}
	ports := s.ports.numbers
	for i := range n {
		s.nodes = append(s.nodes, &node{id: i + 1, dir: filepath.Join(dir, fmt.Sprintf("node%d", i+1)),
			plain: ports[3*i], secure: ports[3*i+1], controller: ports[3*i+2]})
	}
	failed := make(chan error)
	for _, node := range s.nodes {
		go func() {
			err := node.format(lib, s.nodes, pem)
			if err == nil {
				err = node.start(lib)
			}
			failed <- err
		}()
	}
	for range s.nodes {
		err = errors.Join(err, <-failed)
	}
	if err != nil {
		return nil, err
	}
	for _, node := range s.nodes {
		if err := node.ready(ctx); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// Close kills every node and removes its files.
func (s *Server) Close() error {
	var errs []error
	for _, n := range s.nodes {
		errs = append(errs, n.end(syscall.SIGKILL))
	}
	return errors.Join(append(errs, s.ports.release(), os.RemoveAll(s.dir))...)
}

// PIDs are the processes of the nodes that run.
func (s *Server) PIDs() (pids []int) {
	for _, n := range s.nodes {
		if n.cmd != nil {
			pids = append(pids, n.cmd.Process.Pid)
		}
	}
	return pids
}

// Addrs are the addresses of all nodes without encryption; SecureAddrs those with TLS and SASL.
func (s *Server) Addrs() []string {
	return s.addrs(func(n *node) int { return n.plain })
}

// SecureAddrs are the addresses with TLS and SASL.
func (s *Server) SecureAddrs() []string {
	return s.addrs(func(n *node) int { return n.secure })
}

func (s *Server) addrs(port func(*node) int) (out []string) {
	for _, n := range s.nodes {
		out = append(out, fmt.Sprintf("127.0.0.1:%d", port(n)))
	}
	return out
}

// Certificate is what signed the certificates of the encrypted listeners, as PEM.
func (s *Server) Certificate() []byte { return s.cert }

// Kill ends a node, 1 to n, as a crash does.
func (s *Server) Kill(id int) error { return s.nodes[id-1].end(syscall.SIGKILL) }

// Stop shuts a node down: it hands its partitions over.
func (s *Server) Stop(id int) error { return s.nodes[id-1].end(syscall.SIGTERM) }

// Restart brings a node back that was killed or stopped, on its data and its ports.
func (s *Server) Restart(ctx context.Context, id int) error {
	n := s.nodes[id-1]
	if err := n.start(s.lib); err != nil {
		return err
	}
	return n.ready(ctx)
}
