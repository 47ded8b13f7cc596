// The scheduler of the benchmark: a thread per connection on 127.0.0.1.
//
//     backend PORT HELLO_BYTES
//
// A connection begins with HELLO_BYTES bytes (the ClientHello, not looked at) and one letter:
//   E  echo whatever comes
//   S  swallow until the end, then answer the count (8 bytes): shows that half-close works
//   G  read a count (8 bytes), then send that many bytes
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

static int hello_bytes;

static int read_all(int fd, void *to, size_t size) {
    for (size_t got = 0; got < size;) {
        ssize_t n = read(fd, (char *)to + got, size - got);
        if (n <= 0) return -1;
        got += n;
    }
    return 0;
}

static int write_all(int fd, const void *from, size_t size) {
    for (size_t put = 0; put < size;) {
        ssize_t n = write(fd, (const char *)from + put, size - put);
        if (n <= 0) return -1;
        put += n;
    }
    return 0;
}

static void *serve(void *argument) {
    int fd = (long)argument;
    char hello[65536], mode;
    char *buffer = NULL;
    size_t room = 1 << 16;
    if (read_all(fd, hello, hello_bytes) || read_all(fd, &mode, 1)) goto end;
    if (mode == 'E') {
        ssize_t n;
        char small[16384];
        while ((n = read(fd, small, sizeof small)) > 0) {
            if (write_all(fd, small, n)) break;
            if (n == sizeof small) break;
        }
        if (n == sizeof small) {  // bulky: from here on with a large buffer
            buffer = malloc(1 << 20);
            while ((n = read(fd, buffer, 1 << 20)) > 0)
                if (write_all(fd, buffer, n)) break;
        }
    } else if (mode == 'S') {
        unsigned long long total = 0;
        ssize_t n;
        buffer = malloc(1 << 20);
        while ((n = read(fd, buffer, 1 << 20)) > 0) total += n;
        write_all(fd, &total, 8);
    } else if (mode == 'G') {
        unsigned long long left;
        room = 1 << 20;
        buffer = malloc(room);
        memset(buffer, 7, room);
        if (read_all(fd, &left, 8)) goto end;
        while (left) {
            size_t size = left > room ? room : left;
            if (write_all(fd, buffer, size)) break;
            left -= size;
        }
    }
end:
    free(buffer);
    close(fd);
    return NULL;
}

int main(int count, char **words) {
    if (count != 3) return 2;
    signal(SIGPIPE, SIG_IGN);
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    hello_bytes = atoi(words[2]);
    int listener = socket(AF_INET, SOCK_STREAM, 0), one = 1;
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(atoi(words[1]))};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (bind(listener, (void *)&address, sizeof address) || listen(listener, 4096)) {
        perror("backend");
        return 1;
    }
    socklen_t length = sizeof address;
    getsockname(listener, (void *)&address, &length);
    printf("%d\n", ntohs(address.sin_port));
    fflush(stdout);
    pthread_attr_t detached;
    pthread_attr_init(&detached);
    pthread_attr_setdetachstate(&detached, PTHREAD_CREATE_DETACHED);
    pthread_attr_setstacksize(&detached, 131072);
    for (;;) {
        int fd = accept(listener, NULL, NULL);
        if (fd < 0) continue;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        pthread_t thread;
        if (pthread_create(&thread, &detached, serve, (void *)(long)fd)) close(fd);
    }
}
