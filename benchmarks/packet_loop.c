/* What a packet costs at least: the steps of the userspace data path for one call, as a plain loop in C.
 *
 *     packet_loop decapsulate|encapsulate none|stateful|stateless SIZE BURSTS BURST PEER_NAMESPACE NETWORK_NAMESPACE
 *
 * Run as root in the server's network namespace of benchmarks/packets.py (addresses below); those of the peer and of
 * the network behind the server, to which inner packets are forwarded, are given by path. Each burst is put into the receive queue first, which is not measured, then taken out and worked off, which is.
 * Prints the CPU time per packet in nanoseconds, kernel and user together.
 *
 * decapsulate: recv from the raw GRE socket, header, sequence number, acknowledgement every 16 packets, PPP protocol,
 * MPPE, source address, write to the TUN. encapsulate: read from the TUN, header, MPPE, GRE, sendto.
 */

#define _GNU_SOURCE
#define OPENSSL_SUPPRESS_DEPRECATED
#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <openssl/rc4.h>
#include <openssl/sha.h>
#include <poll.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define SERVER "192.0.2.1"
#define CLIENT "192.0.2.2"
#define INNER_SERVER "10.90.0.1"
#define INNER_CLIENT "10.90.0.2"
#define HOST "198.51.100.2"
#define PORT 5000
#define CALL_ID 1
#define PEER_CALL_ID 2

enum mode { NONE, STATEFUL, STATELESS };

struct mppe {
    enum mode mode;
    uint8_t start[16], current[16];
    RC4_KEY stream;
    unsigned count;
};

static void die(const char *what) {
    perror(what);
    exit(1);
}

/* RFC 3079 §3.4: GetNewKeyFromSHA, then RC4 with itself (RFC 3078 §7.3), except for the first key. */
static void change_key(struct mppe *mppe, int first) {
    static uint8_t pad1[40], pad2[40];
    uint8_t digest[SHA_DIGEST_LENGTH];
    RC4_KEY schedule;
    SHA_CTX sha;
    memset(pad2, 0xf2, sizeof pad2);
    SHA1_Init(&sha);
    SHA1_Update(&sha, mppe->start, 16);
    SHA1_Update(&sha, pad1, 40);
    SHA1_Update(&sha, mppe->current, 16);
    SHA1_Update(&sha, pad2, 40);
    SHA1_Final(digest, &sha);
    if (first) {
        memcpy(mppe->current, digest, 16);
    } else {
        RC4_set_key(&schedule, 16, digest);
        RC4(&schedule, 16, digest, mppe->current);
    }
}

static void start_mppe(struct mppe *mppe, enum mode mode) {
    memset(mppe, 0, sizeof *mppe);
    mppe->mode = mode;
    change_key(mppe, 1);
    RC4_set_key(&mppe->stream, 16, mppe->current);
}

/* Ciphers one packet; both directions are the same. Returns the two octets of the MPPE header. */
static unsigned cipher(struct mppe *mppe, const uint8_t *from, uint8_t *to, size_t size) {
    unsigned header = 0x1000 | mppe->count;
    if (mppe->mode == STATELESS || (mppe->count & 0xff) == 0xff) {
        header |= 0x8000;
        change_key(mppe, 0);
        RC4_set_key(&mppe->stream, 16, mppe->current);
    }
    mppe->count = (mppe->count + 1) & 0xfff;
    RC4(&mppe->stream, size, from, to);
    return header;
}

/* A GRE packet with ``inner`` in it, at ``out``; returns its size. */
static size_t encapsulate(uint8_t *out, unsigned call_id, uint32_t sequence, struct mppe *mppe, uint8_t *inner,
                          size_t size) {
    uint8_t *ppp = out + 12;
    size_t length;
    if (mppe->mode == NONE) {
        ppp[0] = 0x21;
        memcpy(ppp + 1, inner, size);
        length = size + 1;
    } else {
        inner[-2] = 0;
        inner[-1] = 0x21;
        unsigned header = cipher(mppe, inner - 2, ppp + 3, size + 2);
        ppp[0] = 0xfd;
        ppp[1] = header >> 8;
        ppp[2] = header & 0xff;
        length = size + 5;
    }
    uint16_t fields[4] = {htons(0x3001), htons(0x880b), htons(length), htons(call_id)};
    uint32_t number = htonl(sequence);
    memcpy(out, fields, 8);
    memcpy(out + 8, &number, 4);
    return 12 + length;
}

static double cpu_time(void) {
    struct timespec now;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return now.tv_sec * 1e9 + now.tv_nsec;
}

static struct sockaddr_in address(const char *text, int port) {
    struct sockaddr_in result = {.sin_family = AF_INET, .sin_port = htons(port)};
    inet_pton(AF_INET, text, &result.sin_addr);
    return result;
}

static int bound(int type, int protocol, const char *text, int port) {
    struct sockaddr_in local = address(text, port);
    int fd = socket(AF_INET, type, protocol);
    if (fd < 0 || bind(fd, (struct sockaddr *)&local, sizeof local) < 0)
        die(text);
    return fd;
}

/* A socket that takes packets, so that the kernel does not answer them with ICMP, and drops them at once. */
static void sink(int type, int protocol, const char *text, int port) {
    struct sock_filter drop = {BPF_RET | BPF_K, 0, 0, 0};
    struct sock_fprog program = {1, &drop};
    int fd = bound(type, protocol, text, port);
    if (setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof program) < 0)
        die("filter");
}

static void enter(const char *namespace) {
    int fd = open(namespace, O_RDONLY);
    if (fd < 0 || setns(fd, CLONE_NEWNET) < 0)
        die(namespace);
    close(fd);
}

static int open_tun(void) {
    struct ifreq request = {.ifr_flags = IFF_TUN | IFF_NO_PI};
    int fd = open("/dev/net/tun", O_RDWR);
    strcpy(request.ifr_name, "bench0");
    if (fd < 0 || ioctl(fd, TUNSETIFF, &request) < 0)
        die("/dev/net/tun");
    if (system("ip address add " INNER_SERVER "/32 dev bench0; ip link set bench0 up mtu 1500 txqueuelen 1000;"
               "ip route add " INNER_CLIENT "/32 dev bench0") != 0)
        die("ip");
    return fd;
}

static void decapsulate_burst(int gre, int tun, struct mppe *mppe, int burst, uint32_t *expected, unsigned *owed) {
    static uint8_t packet[65536], clear[65536];
    uint32_t client = inet_addr(INNER_CLIENT), peer = inet_addr(CLIENT);
    struct sockaddr_in destination = address(CLIENT, 0);
    for (int done = 0; done < burst; done++) {
        ssize_t size = recv(gre, packet, sizeof packet, 0);
        if (size < 0)
            die("recv");
        size_t start = (packet[0] & 15) * 4;
        uint8_t *header = packet + start, *ppp = header + 12, *inner;
        uint16_t call_id;
        uint32_t number;
        memcpy(&call_id, header + 6, 2);
        memcpy(&number, header + 8, 4);
        if (ntohs(call_id) != CALL_ID || memcmp(packet + 12, &peer, 4) != 0 || ntohl(number) != *expected) {
            fputs("a packet of the burst is missing\n", stderr);
            exit(1);
        }
        ++*expected;
        if (++*owed == 16) {
            uint16_t fields[4] = {htons(0x2081), htons(0x880b), 0, htons(PEER_CALL_ID)};
            uint8_t answer[12];
            memcpy(answer, fields, 8);
            memcpy(answer + 8, &number, 4);
            sendto(gre, answer, sizeof answer, 0, (struct sockaddr *)&destination, sizeof destination);
            *owed = 0;
        }
        size_t length = size - start - 12;
        if (ppp[0] == 0xfd) {
            cipher(mppe, ppp + 3, clear, length - 3);
            inner = clear + 2;
            length -= 5;
        } else {
            inner = ppp + 1;
            length -= 1;
        }
        if (memcmp(inner + 12, &client, 4) != 0 || (size_t)(inner[2] << 8 | inner[3]) != length) {
            fputs("a packet did not decrypt\n", stderr);
            exit(1);
        }
        if (write(tun, inner, length) < 0)
            die("write");
    }
}

static void encapsulate_burst(int gre, int tun, struct mppe *mppe, int burst, uint32_t *sequence) {
    static uint8_t packet[65536], out[65536];
    uint32_t client = inet_addr(INNER_CLIENT);
    struct sockaddr_in destination = address(CLIENT, 0);
    for (int done = 0; done < burst;) {
        ssize_t size = read(tun, packet + 2, sizeof packet - 2);
        if (size < 20 || packet[2] >> 4 != 4 || memcmp(packet + 18, &client, 4) != 0)
            continue; /* the kernel's IPv6 chatter */
        size_t length = encapsulate(out, PEER_CALL_ID, (*sequence)++, mppe, packet + 2, size);
        if (sendto(gre, out, length, 0, (struct sockaddr *)&destination, sizeof destination) < 0)
            die("sendto");
        done++;
    }
}

int main(int count, char **arguments) {
    if (count != 8) {
        fputs("usage: packet_loop decapsulate|encapsulate none|stateful|stateless SIZE BURSTS BURST PEER NETWORK\n", stderr);
        return 2;
    }
    int inwards = strcmp(arguments[1], "decapsulate") == 0;
    enum mode mode = strcmp(arguments[2], "none") == 0 ? NONE : strcmp(arguments[2], "stateful") == 0 ? STATEFUL : STATELESS;
    int size = atoi(arguments[3]), bursts = atoi(arguments[4]), burst = atoi(arguments[5]), room = 8 << 20;
    int tun = open_tun();
    int gre = bound(SOCK_RAW, IPPROTO_GRE, SERVER, 0);
    setsockopt(gre, SOL_SOCKET, SO_RCVBUFFORCE, &room, sizeof room);
    int udp = bound(SOCK_DGRAM, 0, INNER_SERVER, 0);
    int home = open("/proc/self/ns/net", O_RDONLY);
    enter(arguments[7]);
    sink(SOCK_DGRAM, 0, HOST, PORT);
    enter(arguments[6]);
    sink(SOCK_RAW, IPPROTO_GRE, CLIENT, 0);
    int sender = bound(SOCK_RAW, IPPROTO_GRE, CLIENT, 0);
    struct sock_filter drop = {BPF_RET | BPF_K, 0, 0, 0};
    struct sock_fprog program = {1, &drop};
    setsockopt(sender, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof program);
    setns(home, CLONE_NEWNET);

    struct mppe ours, theirs;
    start_mppe(&ours, mode);
    start_mppe(&theirs, mode);
    uint32_t sent = 0, expected = 0;
    unsigned owed = 0;
    struct sockaddr_in server = address(SERVER, 0), client = address(INNER_CLIENT, PORT);
    static uint8_t room_for_inner[65536], out[65536];
    uint8_t *inner = room_for_inner + 2;
    memset(inner, 0, size);
    inner[0] = 0x45, inner[2] = size >> 8, inner[3] = size & 255, inner[8] = 64, inner[9] = 17;
    uint32_t ends[2] = {inet_addr(INNER_CLIENT), inet_addr(HOST)};
    memcpy(inner + 12, ends, 8);
    uint16_t udp_header[4] = {htons(PORT), htons(PORT), htons(size - 20), 0};
    memcpy(inner + 20, udp_header, 8);
    uint32_t sum = 0;
    for (int i = 0; i < 20; i += 2)
        sum += inner[i] << 8 | inner[i + 1];
    sum = (sum & 0xffff) + (sum >> 16);
    inner[10] = ~sum >> 8 & 255, inner[11] = ~sum & 255;

    double spent = 0;
    for (int number = 0; number < bursts; number++) {
        for (int packet = 0; packet < burst; packet++) {
            ssize_t done;
            if (inwards) {
                size_t length = encapsulate(out, CALL_ID, sent++, &theirs, inner, size);
                done = sendto(sender, out, length, 0, (struct sockaddr *)&server, sizeof server);
            } else {
                done = sendto(udp, inner, size - 28, 0, (struct sockaddr *)&client, sizeof client);
            }
            if (done < 0)
                die("the sender");
        }
        double begun = cpu_time();
        if (inwards)
            decapsulate_burst(gre, tun, &ours, burst, &expected, &owed);
        else
            encapsulate_burst(gre, tun, &ours, burst, &expected);
        spent += cpu_time() - begun;
    }
    printf("%.1f\n", spent / bursts / burst);
    return 0;
}
