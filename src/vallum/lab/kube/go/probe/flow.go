package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"time"
)

// flow is a connection that is held from one line of input to the next: a change of policy meets it established.
type flow struct {
	sync.Mutex
	connection net.Conn
	lines      *bufio.Reader
	said       int
}

var (
	flows    = map[string]*flow{}
	flowing  sync.Mutex
	told     = map[string]bool{}
	telling  sync.Mutex
	tokened  = "token "
	asked    = "seen "
	repeated = "say "
)

// hold says one more thing on a flow, opened where there is none yet, and waits for just that to come back.
func hold(target Target, deadline time.Time) error {
	flowing.Lock()
	held := flows[target.Flow]
	if held == nil {
		held = &flow{}
		flows[target.Flow] = held
	}
	flowing.Unlock()
	held.Lock()
	defer held.Unlock()
	protocol := strings.ToLower(target.Protocol)
	if held.connection == nil {
		connection, err := (&net.Dialer{Deadline: deadline}).Dial(protocol, place(target))
		if err != nil {
			return err
		}
		held.connection, held.lines = connection, bufio.NewReader(connection)
	}
	held.said++
	words := fmt.Sprintf("%s%d\n", repeated, held.said)
	held.connection.SetDeadline(deadline)
	if _, err := held.connection.Write([]byte(words)); err != nil {
		return err
	}
	if protocol == "udp" {
		again := time.AfterFunc(time.Until(deadline)/2, func() { held.connection.Write([]byte(words)) })
		defer again.Stop()
	}
	for {
		if line, err := held.lines.ReadString('\n'); err != nil || line == words {
			return err
		}
	}
}

// lie sends a token with a source address that is not ours. Nobody answers; who asks the target knows if it came.
func lie(target Target, deadline time.Time) error {
	foreign := net.ListenConfig{Control: func(network, _ string, socket syscall.RawConn) error {
		level, option := syscall.SOL_IP, syscall.IP_TRANSPARENT
		if network == "udp6" {
			level, option = syscall.SOL_IPV6, 75 // IPV6_TRANSPARENT
		}
		var failed error
		err := socket.Control(func(number uintptr) {
			failed = syscall.SetsockoptInt(int(number), level, option, 1)
		})
		return errors.Join(err, failed)
	}}
	network := "udp4"
	if strings.Contains(target.Address, ":") {
		network = "udp6"
	}
	socket, err := foreign.ListenPacket(context.Background(), network, net.JoinHostPort(target.Source, "0"))
	if err != nil {
		return err
	}
	defer socket.Close()
	to, err := net.ResolveUDPAddr(network, place(target))
	if err != nil {
		return err
	}
	_, err = socket.WriteTo([]byte(tokened+target.Token), to)
	return err
}

// wasSeen asks a server whether a token reached it.
func wasSeen(connection net.Conn, token string, deadline time.Time) error {
	connection.SetDeadline(deadline)
	if _, err := connection.Write([]byte(asked + token)); err != nil {
		return err
	}
	line, err := bufio.NewReader(connection).ReadString('\n')
	if err == nil && line != "yes\n" {
		return errors.New("not seen")
	}
	return err
}

// answerWords is what a server says to a datagram.
func answerWords(words string, peer net.Addr) []byte {
	telling.Lock()
	defer telling.Unlock()
	switch {
	case strings.HasPrefix(words, repeated):
		return []byte(words)
	case strings.HasPrefix(words, tokened):
		told[strings.TrimPrefix(words, tokened)] = true
	case strings.HasPrefix(words, asked):
		if told[strings.TrimPrefix(words, asked)] {
			return []byte("yes\n")
		}
		return []byte("no\n")
	}
	return seen(peer)
}

// stay serves like `serve` and is not ended by SIGTERM: a pod that takes all of its grace period.
func stay(places []string) error {
	if err := begin(places); err != nil {
		return err
	}
	signal.Ignore(syscall.SIGTERM)
	select {}
}

func place(target Target) string {
	return net.JoinHostPort(target.Address, fmt.Sprint(target.Port))
}
