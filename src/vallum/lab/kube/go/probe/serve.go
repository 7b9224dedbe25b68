package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"syscall"
)

// Seen is what a server tells each client: who it is and from where it was reached.
type Seen struct {
	Host string `json:"host"`
	Peer string `json:"peer"`
}

// serve opens every PROTOCOL/PORT (TCP, UDP, SCTP, HTTP; PORT may be FIRST-LAST) on all addresses of both families.
func serve(places []string) error {
	if err := begin(places); err != nil {
		return err
	}
	return pause(nil)
}

func begin(places []string) error {
	associations := map[uint16]bool{}
	for _, place := range places {
		protocol, ports, err := portsOf(place)
		if err != nil {
			return err
		}
		for port := ports[0]; port <= ports[1]; port++ {
			if protocol == "SCTP" {
				associations[uint16(port)] = true
			} else if err := open(protocol, port); err != nil {
				return err
			}
		}
	}
	if err := answerAssociations(associations); err != nil {
		return err
	}
	fmt.Println("serving", strings.Join(places, " "))
	return nil
}

func portsOf(place string) (string, [2]int, error) {
	protocol, text, found := strings.Cut(place, "/")
	first, last, ranged := strings.Cut(text, "-")
	if !ranged {
		last = first
	}
	low, err := strconv.Atoi(first)
	high, err2 := strconv.Atoi(last)
	if !found || err != nil || err2 != nil {
		return "", [2]int{}, fmt.Errorf("%q is not PROTOCOL/PORT", place)
	}
	return strings.ToUpper(protocol), [2]int{low, high}, nil
}

func open(protocol string, port int) error {
	where := fmt.Sprintf(":%d", port)
	switch protocol {
	case "TCP", "HTTP":
		listener, err := net.Listen("tcp", where)
		if err != nil {
			return err
		}
		answer := converse
		if protocol == "HTTP" {
			answer = answerRequest
		}
		go func() {
			for {
				if peer, err := listener.Accept(); err == nil {
					go answer(peer)
				}
			}
		}()
	case "UDP":
		socket, err := net.ListenPacket("udp", where)
		if err != nil {
			return err
		}
		go answerDatagrams(socket.(*net.UDPConn))
	default:
		return fmt.Errorf("%q is not TCP, UDP, SCTP or HTTP", protocol)
	}
	return nil
}

// converse tells the client what was seen, then sends back all that it says: a connection can be held and used.
func converse(peer net.Conn) {
	defer peer.Close()
	peer.Write(seen(peer.RemoteAddr()))
	io.Copy(peer, peer)
}

// answerDatagrams answers from the address that was asked: a node has several, and the kernel would take the nearest.
func answerDatagrams(socket *net.UDPConn) {
	if raw, err := socket.SyscallConn(); err == nil {
		raw.Control(func(number uintptr) {
			syscall.SetsockoptInt(int(number), syscall.SOL_IPV6, syscall.IPV6_RECVPKTINFO, 1)
		})
	}
	buffer, facts := make([]byte, 2048), make([]byte, 128)
	for {
		size, told, _, peer, err := socket.ReadMsgUDP(buffer, facts)
		if err != nil {
			continue
		}
		if told == syscall.CmsgSpace(syscall.SizeofInet6Pktinfo) {
			clear(facts[syscall.CmsgLen(16):told]) // by any interface
		}
		socket.WriteMsgUDP(answerWords(string(buffer[:size]), peer), facts[:told], peer)
	}
}

// answerRequest is the least of HTTP that a kubelet's probe takes; the path /fail is answered by 500.
func answerRequest(peer net.Conn) {
	defer peer.Close()
	reader := bufio.NewReader(peer)
	request, err := reader.ReadString('\n')
	for line := request; err == nil && strings.TrimSpace(line) != ""; {
		line, err = reader.ReadString('\n')
	}
	status := "200 OK"
	if words := strings.Fields(request); len(words) > 1 && words[1] == "/fail" {
		status = "500 Told To"
	}
	body := seen(peer.RemoteAddr())
	fmt.Fprintf(peer, "HTTP/1.1 %s\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s", status, len(body), body)
}

func seen(peer net.Addr) []byte {
	host, _ := os.Hostname()
	address, _, err := net.SplitHostPort(peer.String())
	if err != nil {
		address = peer.String()
	}
	line, _ := json.Marshal(Seen{host, address})
	return append(line, '\n')
}
