package kafkatest

import (
	"errors"
	"fmt"
	"syscall"
)

// ports are TCP ports of 127.0.0.1 that nobody else gets while they are held, not even while the node that they are for
// is down: another socket could get one that is merely free, and the node would not start again.
//
// They are bound and do not listen. Linux lets a server bind and listen all the same, if both sockets say SO_REUSEADDR,
// as Java's do; and it gives none of them to who asks for any port.
type ports struct {
	sockets []int
	numbers []int
}

func holdPorts(n int) (p *ports, err error) {
	p = &ports{}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("hold a port: %w", err), p.release())
		}
	}()
	for range n {
		fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
		if err != nil {
			return p, err
		}
		p.sockets = append(p.sockets, fd)
		if err := syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
			return p, err
		}
		// Why after the bind: with it, the kernel might choose a port that another such socket has.
		if err := syscall.SetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_REUSEADDR, 1); err != nil {
			return p, err
		}
		addr, err := syscall.Getsockname(fd)
		if err != nil {
			return p, err
		}
		p.numbers = append(p.numbers, addr.(*syscall.SockaddrInet4).Port)
	}
	return p, nil
}

func (p *ports) release() error {
	var errs []error
	for _, fd := range p.sockets {
		errs = append(errs, syscall.Close(fd))
	}
	p.sockets = nil
	return errors.Join(errs...)
}
