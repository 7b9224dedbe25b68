package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Target is one line on standard input. A name is looked up, in Family (4 or 6) where it says so.
type Target struct {
	ID       json.RawMessage `json:"id,omitempty"`
	Protocol string          `json:"protocol"`
	Address  string          `json:"address"`
	Port     int             `json:"port"`
	Family   int             `json:"family,omitempty"`
	Timeout  float64         `json:"timeout,omitempty"`
	Size     int             `json:"size,omitempty"`   // of the datagram
	Flow     string          `json:"flow,omitempty"`   // a name: held open, and used again by the next line with it
	Source   string          `json:"source,omitempty"` // a lie; needs a token
	Token    string          `json:"token,omitempty"`  // for the server to remember, without a lie: to be asked for
}

// Result is one line on standard output. Error: timeout, refused, unreachable, or the system's own words.
type Result struct {
	ID json.RawMessage `json:"id,omitempty"`
	OK bool            `json:"ok"`
	Seen
	Error   string  `json:"error,omitempty"`
	Seconds float64 `json:"seconds"`
}

const (
	usualTimeout = 1.0
	atOnce       = 256
)

// probe tries every target on standard input, many at once, and writes results as they come.
func probe([]string) error {
	slots := make(chan bool, atOnce)
	results := json.NewEncoder(os.Stdout)
	var writing sync.Mutex
	var running sync.WaitGroup
	lines := json.NewDecoder(os.Stdin)
	for {
		var target Target
		if err := lines.Decode(&target); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return err
		}
		slots <- true
		running.Add(1)
		go func() {
			defer running.Done()
			result := try(target)
			writing.Lock()
			defer writing.Unlock()
			results.Encode(result)
			<-slots
		}()
	}
	running.Wait()
	return nil
}

func try(target Target) Result {
	if target.Timeout == 0 {
		target.Timeout = usualTimeout
	}
	began := time.Now()
	deadline := began.Add(time.Duration(target.Timeout * float64(time.Second)))
	what, err := reach(target, deadline)
	return Result{target.ID, err == nil, what, word(err), time.Since(began).Seconds()}
}

func reach(target Target, deadline time.Time) (Seen, error) {
	if target.Source != "" {
		return Seen{}, lie(target, deadline)
	} else if target.Flow != "" {
		return Seen{}, hold(target, deadline)
	}
	family := ""
	if target.Family != 0 {
		family = strconv.Itoa(target.Family)
	}
	where := net.JoinHostPort(target.Address, strconv.Itoa(target.Port))
	switch protocol := strings.ToLower(target.Protocol); protocol {
	case "tcp", "udp":
		connection, err := (&net.Dialer{Deadline: deadline}).Dial(protocol+family, where)
		if err != nil {
			return Seen{}, err
		}
		defer connection.Close()
		if target.Token != "" {
			return Seen{}, wasSeen(connection, target.Token, deadline)
		}
		return ask(connection, protocol == "udp", target.Size, deadline)
	case "sctp", "icmp":
		address, err := net.ResolveIPAddr("ip"+family, target.Address)
		if err != nil {
			return Seen{}, err
		}
		if protocol == "icmp" {
			return Seen{}, echo(address, deadline)
		}
		return Seen{}, associate(address, target.Port, deadline)
	}
	return Seen{}, fmt.Errorf("%q is not TCP, UDP, SCTP or ICMP", target.Protocol)
}

// ask reads what the server saw. A datagram is sent twice: one may be lost while a neighbour is being found.
func ask(connection net.Conn, datagram bool, size int, deadline time.Time) (Seen, error) {
	var what Seen
	connection.SetDeadline(deadline)
	if datagram {
		words := []byte("hello" + strings.Repeat(".", max(size-len("hello"), 0)))
		again := time.AfterFunc(time.Until(deadline)/2, func() { connection.Write(words) })
		defer again.Stop()
		if _, err := connection.Write(words); err != nil {
			return what, err
		}
	}
	line, err := bufio.NewReader(connection).ReadBytes('\n')
	if err != nil {
		return what, err
	}
	return what, json.Unmarshal(line, &what)
}

func word(err error) string {
	var net net.Error
	switch {
	case err == nil:
		return ""
	case errors.Is(err, syscall.ECONNREFUSED):
		return "refused"
	case errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH):
		return "unreachable"
	case errors.As(err, &net) && net.Timeout(), errors.Is(err, os.ErrDeadlineExceeded):
		return "timeout"
	}
	return err.Error()
}

// talk joins standard input and output to a connection: `talk ADDRESS PORT`.
func talk(arguments []string) error {
	if len(arguments) != 2 {
		return fmt.Errorf("talk ADDRESS PORT")
	}
	connection, err := net.DialTimeout("tcp", net.JoinHostPort(arguments[0], arguments[1]), 5*time.Second)
	if err != nil {
		return err
	}
	go func() {
		io.Copy(connection, os.Stdin)
		connection.(*net.TCPConn).CloseWrite()
	}()
	_, err = io.Copy(os.Stdout, connection)
	return err
}

// lookup prints the addresses of names, a line each.
func lookup(names []string) error {
	for _, name := range names {
		context, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		addresses, err := net.DefaultResolver.LookupHost(context, name)
		cancel()
		if err != nil {
			return err
		}
		fmt.Println(strings.Join(addresses, "\n"))
	}
	return nil
}
