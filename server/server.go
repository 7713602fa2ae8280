package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/sluice-sql/sluice/internal/vfs"
)

// Config says where a daemon lives.
type Config struct {
	// StateDir is the directory that it keeps its pipelines in. Required, absolute.
	StateDir string
	// Socket is the Unix socket's path. Defaults to STATE_DIR/sluice.sock.
	Socket string
	// Listen is a TCP address on the loopback interface. Defaults to no TCP.
	Listen string
	// ListenElsewhere takes any free port when Listen's is in use. Defaults to failing.
	ListenElsewhere bool
	// Standby is the state directory of the daemon to take over from when it is gone. Defaults to none.
	Standby string
	// Version is what GET /v1/version tells. Defaults to "".
	Version string
	// Logger gets what an operator should see. Defaults to slog.Default.
	Logger *slog.Logger
}

// DefaultListen is where `sluice serve` listens unless told otherwise.
const DefaultListen = "127.0.0.1:8490"

// SocketPath is where the daemon of a state directory listens.
func SocketPath(stateDir string) string { return filepath.Join(stateDir, "sluice.sock") }

func (c *Config) setDefaults() error {
	if !filepath.IsAbs(c.StateDir) {
		return fmt.Errorf("state directory %q is not absolute", c.StateDir)
	}
	if c.Socket == "" {
		c.Socket = SocketPath(c.StateDir)
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	return nil
}

// Server is a daemon: one a state directory.
type Server struct {
	cfg     Config
	token   string
	lock    io.Closer
	unix    net.Listener
	tcp     net.Listener // nil without TCP
	started time.Time
	fleet   *fleet
}

// New claims the state directory and listens; requests wait until Run takes them.
func New(cfg Config) (_ *Server, err error) {
	if err := cfg.setDefaults(); err != nil {
		return nil, err
	}
	s := &Server{cfg: cfg, started: time.Now().UTC()}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.Close())
		}
	}()
	if err := os.MkdirAll(cfg.StateDir, 0o755); err != nil {
		return nil, fmt.Errorf("create the state directory: %w", err)
	}
	if s.lock, err = (vfs.OS{}).Lock(filepath.Join(cfg.StateDir, "sluice.lock")); err != nil {
		if errors.Is(err, vfs.ErrLocked) {
			err = fmt.Errorf("another daemon has this state directory: %w\nHint: use it (`sluice ls` shows its pipelines), or start this one with another --state-dir", err)
		}
		return nil, err
	}
	if s.token, err = loadToken(filepath.Join(cfg.StateDir, "token")); err != nil {
		return nil, err
	}
	if s.unix, err = listenUnix(cfg.Socket); err != nil {
		return nil, err
	}
	if cfg.Listen != "" {
		if s.tcp, err = listenTCP(cfg.Listen, cfg.ListenElsewhere); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// Socket is the path that the daemon listens on.
func (s *Server) Socket() string { return s.cfg.Socket }

// Addr is the TCP address, empty without TCP.
func (s *Server) Addr() string {
	if s.tcp == nil {
		return ""
	}
	return s.tcp.Addr().String()
}

// TokenPath is the file with the token that TCP requests must send.
func (s *Server) TokenPath() string { return filepath.Join(s.cfg.StateDir, "token") }

// Close gives up what New took. Run must have returned.
func (s *Server) Close() error {
	var errs []error
	for _, l := range []net.Listener{s.unix, s.tcp} {
		if l == nil {
			continue
		}
		if err := l.Close(); !errors.Is(err, net.ErrClosed) {
			errs = append(errs, err)
		}
	}
	s.unix, s.tcp = nil, nil
	if s.lock != nil {
		errs = append(errs, s.lock.Close())
		s.lock = nil
	}
	return errors.Join(errs...)
}

const (
	headerTimeout = 5 * time.Second
	readTimeout   = 30 * time.Second
	idleTimeout   = 2 * time.Minute
	maxHeader     = 16 << 10
	// hangUpTimeout is what open requests get at the very end.
	hangUpTimeout = 2 * time.Second
)

// Run resumes the pipelines and takes requests until ctx is done. Then every pipeline finishes its batch, or
// gives it up once abort is done as well.
//
// With Config.Standby the launcher must be a Deputy too. Without it Run also ends when the last of its pipelines was
// taken over by another engine: its error then wraps microbatch.ErrFenced.
func (s *Server) Run(ctx, abort context.Context, l Launcher) (err error) {
	deputy, _ := l.(Deputy)
	by, err := openStandby(s.cfg.Standby, s.cfg.StateDir, deputy)
	if err != nil {
		return err
	}
	if s.fleet, err = openFleet(s.cfg.StateDir, l, s.cfg.Logger, by); err != nil {
		return err
	}
	s.fleet.resumeAll()
	api := s.handler()
	servers := []*http.Server{s.serve(s.unix, api)}
	if s.tcp != nil {
		servers = append(servers, s.serve(s.tcp, guardTCP(s.token, s.tcp.Addr(), api)))
	}
	following, stopFollowing := context.WithCancel(ctx)
	defer stopFollowing()
	if by != nil {
		go s.fleet.follow(following)
	}
	var fenced error
	select {
	case <-ctx.Done():
	case fenced = <-s.fleet.lost:
	}
	stopFollowing()
	// Requests are answered while the pipelines end, so that `sluice ls` can show what is waited for.
	err = errors.Join(fenced, s.fleet.shutdown(abort))
	closing, cancel := context.WithTimeout(context.Background(), hangUpTimeout)
	defer cancel()
	for _, h := range servers {
		if herr := h.Shutdown(closing); herr != nil {
			_ = h.Close() // cuts off what is left
		}
	}
	return err
}

// serve answers a listener's requests on a goroutine that ends when the server is shut down.
func (s *Server) serve(l net.Listener, h http.Handler) *http.Server {
	srv := &http.Server{
		Handler: h, ReadHeaderTimeout: headerTimeout, ReadTimeout: readTimeout, IdleTimeout: idleTimeout, MaxHeaderBytes: maxHeader,
		ErrorLog: slog.NewLogLogger(s.cfg.Logger.Handler(), slog.LevelDebug),
	}
	go func() {
		if err := srv.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			s.cfg.Logger.Error("the daemon takes no more requests", "address", l.Addr(), "error", err)
		}
	}()
	return srv
}
