package main

import (
	"encoding/binary"
	"fmt"
	"net"
	"strings"
)

const (
	typeA, typeAAAA    = 1, 28
	header, nameError  = 12, 3
	answerFlags, short = 0x8400, 5
)

// serveNames answers A and AAAA for `NAME=ADDRESS ...` on UDP port 53, and that there is no other name (RFC 1035).
func serveNames(pairs []string) error {
	known := map[string][]net.IP{}
	for _, pair := range pairs {
		name, text, _ := strings.Cut(pair, "=")
		address := net.ParseIP(text)
		if address == nil {
			return fmt.Errorf("%q is not NAME=ADDRESS", pair)
		}
		key := strings.ToLower(strings.TrimSuffix(name, "."))
		known[key] = append(known[key], address)
	}
	socket, err := net.ListenPacket("udp", ":53")
	if err != nil {
		return err
	}
	fmt.Println("naming", len(known))
	go func() {
		buffer := make([]byte, 2048)
		for {
			size, peer, err := socket.ReadFrom(buffer)
			if err != nil {
				continue
			}
			if answer := answerTo(buffer[:size], known); answer != nil {
				socket.WriteTo(answer, peer)
			}
		}
	}()
	return pause(nil)
}

func answerTo(query []byte, known map[string][]net.IP) []byte {
	name, end := question(query)
	if end == 0 {
		return nil
	}
	kind := binary.BigEndian.Uint16(query[end-4:])
	answer := append([]byte{}, query[:end]...)
	clear(answer[6:header])
	addresses, found := known[name]
	flags := uint16(answerFlags)
	if !found {
		flags |= nameError
	}
	binary.BigEndian.PutUint16(answer[2:], flags)
	count := uint16(0)
	for _, address := range addresses {
		bytes := address.To4()
		if kind == typeAAAA && bytes == nil {
			bytes = address
		} else if kind != typeA || bytes == nil {
			continue
		}
		count++
		answer = append(answer, 0xc0, header) // the name of the question
		answer = binary.BigEndian.AppendUint16(answer, kind)
		answer = append(answer, 0, 1, 0, 0, 0, short, 0, byte(len(bytes)))
		answer = append(answer, bytes...)
	}
	binary.BigEndian.PutUint16(answer[6:], count)
	return answer
}

// question gives the first question's name and where it ends; 0 for what is no query.
func question(query []byte) (string, int) {
	var labels []string
	at := header
	for at < len(query) && query[at] != 0 {
		next := at + 1 + int(query[at])
		if query[at] >= 64 || next >= len(query) {
			return "", 0
		}
		labels = append(labels, strings.ToLower(string(query[at+1:next])))
		at = next
	}
	if end := at + 5; len(labels) > 0 && end <= len(query) {
		return strings.Join(labels, "."), end
	}
	return "", 0
}
