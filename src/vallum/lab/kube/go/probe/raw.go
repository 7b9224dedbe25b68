package main

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"net"
	"os"
	"time"
)

// SCTP by hand (RFC 9260): INIT and INIT ACK over raw sockets, for kernels that have no SCTP. Enough for conntrack,
// NAT and policies, which judge the first packet and its answer.
const (
	sctp, icmp, icmp6   = 132, 1, 58
	initChunk, ackChunk = 1, 2
	chunkAt, chunkSize  = 12, 20
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// answerAssociations answers each INIT to one of these ports.
func answerAssociations(ports map[uint16]bool) error {
	if len(ports) == 0 {
		return nil
	}
	for _, network := range []string{"ip4:132", "ip6:132"} {
		socket, err := net.ListenPacket(network, "")
		if err != nil {
			return err
		}
		go func() {
			buffer := make([]byte, 2048)
			for {
				size, peer, err := socket.ReadFrom(buffer)
				if err != nil || size < chunkAt+chunkSize || buffer[chunkAt] != initChunk {
					continue
				}
				from, to := binary.BigEndian.Uint16(buffer), binary.BigEndian.Uint16(buffer[2:])
				if ports[to] {
					tag := binary.BigEndian.Uint32(buffer[chunkAt+4:])
					socket.WriteTo(packet(to, from, tag, ackChunk, rand.Uint32()|1), peer)
				}
			}
		}()
	}
	return nil
}

// associate sends INITs until one is answered.
func associate(to *net.IPAddr, port int, deadline time.Time) error {
	from, tag := uint16(32768+rand.IntN(28000)), rand.Uint32()|1
	request := packet(from, uint16(port), 0, initChunk, tag)
	return exchange(to, sctp, request, deadline, func(answer []byte) bool {
		return len(answer) > chunkAt && answer[chunkAt] == ackChunk &&
			binary.BigEndian.Uint16(answer[2:]) == from && binary.BigEndian.Uint32(answer[4:]) == tag
	})
}

// echo sends ICMP echo requests until one is answered.
func echo(to *net.IPAddr, deadline time.Time) error {
	protocol, ask, answered := icmp, byte(8), byte(0)
	if to.IP.To4() == nil {
		protocol, ask, answered = icmp6, 128, 129
	}
	request := make([]byte, 16)
	request[0] = ask
	binary.BigEndian.PutUint64(request[4:], rand.Uint64())
	if protocol == icmp { // the kernel sums ICMPv6 itself
		binary.BigEndian.PutUint16(request[2:], internetSum(request))
	}
	return exchange(to, protocol, request, deadline, func(answer []byte) bool {
		return len(answer) >= 12 && answer[0] == answered && string(answer[4:12]) == string(request[4:12])
	})
}

func exchange(to *net.IPAddr, protocol int, request []byte, deadline time.Time, fits func([]byte) bool) error {
	network := fmt.Sprintf("ip4:%d", protocol)
	if to.IP.To4() == nil {
		network = fmt.Sprintf("ip6:%d", protocol)
	}
	socket, err := net.ListenPacket(network, "")
	if err != nil {
		return err
	}
	defer socket.Close()
	again := time.AfterFunc(time.Until(deadline)/2, func() { socket.WriteTo(request, to) })
	defer again.Stop()
	if _, err := socket.WriteTo(request, to); err != nil {
		return err
	}
	buffer := make([]byte, 2048)
	for {
		socket.SetReadDeadline(deadline)
		size, _, err := socket.ReadFrom(buffer)
		if os.IsTimeout(err) {
			return os.ErrDeadlineExceeded
		} else if err == nil && fits(buffer[:size]) {
			return nil
		}
	}
}

func packet(from, to uint16, verification uint32, kind byte, tag uint32) []byte {
	bytes := make([]byte, chunkAt+chunkSize)
	binary.BigEndian.PutUint16(bytes, from)
	binary.BigEndian.PutUint16(bytes[2:], to)
	binary.BigEndian.PutUint32(bytes[4:], verification)
	chunk := bytes[chunkAt:]
	chunk[0] = kind
	binary.BigEndian.PutUint16(chunk[2:], chunkSize)
	binary.BigEndian.PutUint32(chunk[4:], tag)
	binary.BigEndian.PutUint32(chunk[8:], 65536) // receiver window
	binary.BigEndian.PutUint16(chunk[12:], 1)    // streams out
	binary.BigEndian.PutUint16(chunk[14:], 1)    // streams in
	binary.BigEndian.PutUint32(chunk[16:], tag)
	binary.LittleEndian.PutUint32(bytes[8:], crc32.Checksum(bytes, castagnoli))
	return bytes
}

func internetSum(bytes []byte) uint16 {
	var sum uint32
	for at := 0; at+1 < len(bytes); at += 2 {
		sum += uint32(binary.BigEndian.Uint16(bytes[at:]))
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}
