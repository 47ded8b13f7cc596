// The clients of the benchmark; each prints one line of `key=value` words.
//
//     load PORT HELLO_FILE up MEBIBYTES          one connection, bulk to the scheduler; waits for its count
//     load PORT HELLO_FILE down MEBIBYTES        one connection, bulk from the scheduler
//     load PORT HELLO_FILE ping N SIZE THREADS   round trips of SIZE bytes, N for each of THREADS connections
//     load PORT HELLO_FILE conn N THREADS        connect, hello, one byte there and back, close; N in all
//     load PORT HELLO_FILE hold N                opens N connections, and keeps them until its input ends
//     load PORT HELLO_FILE rate N PER_SECOND     like conn, at a steady rate; latencies of each
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
#include <time.h>
#include <unistd.h>

static int port, hello_bytes, rounds, size, threads;
static char hello[65537];
static double *latency;

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec * 1e-9;
}

static void fail(const char *what) {
    printf("failed=%s\n", what);
    exit(1);
}

static void read_all(int fd, void *to, size_t bytes) {
    for (size_t got = 0; got < bytes;) {
        ssize_t n = read(fd, (char *)to + got, bytes - got);
        if (n <= 0) fail("lost");
        got += n;
    }
}

static void write_all(int fd, const void *from, size_t bytes) {
    for (size_t put = 0; put < bytes;) {
        ssize_t n = write(fd, (const char *)from + put, bytes - put);
        if (n <= 0) fail("cut");
        put += n;
    }
}

static int dial(char mode) {
    int fd = socket(AF_INET, SOCK_STREAM, 0), one = 1;
    if (fd < 0) fail("socket");
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (connect(fd, (void *)&address, sizeof address)) fail("connect");
    hello[hello_bytes] = mode;
    write_all(fd, hello, hello_bytes + 1);
    return fd;
}

static void *ping(void *argument) {
    long id = (long)argument;
    int fd = dial('E');
    char *out = malloc(size), *in = malloc(size);
    memset(out, 1, size);
    for (int i = 0; i < rounds; i++) {
        double start = now();
        write_all(fd, out, size);
        read_all(fd, in, size);
        latency[id * rounds + i] = now() - start;
    }
    close(fd);
    return NULL;
}

static void *visit(void *argument) {
    long id = (long)argument;
    for (int i = 0; i < rounds; i++) {
        char byte = 'x';
        double start = now();
        int fd = dial('E');
        write_all(fd, &byte, 1);
        read_all(fd, &byte, 1);
        close(fd);
        latency[id * rounds + i] = now() - start;
    }
    return NULL;
}

static int ascending(const void *a, const void *b) {
    double x = *(double *)a, y = *(double *)b;
    return x < y ? -1 : x > y;
}

static void report(double seconds) {
    int n = rounds * threads;
    qsort(latency, n, sizeof(double), ascending);
    printf("rate=%.1f p50=%.1f p99=%.1f\n", n / seconds, latency[n / 2] * 1e6, latency[(int)(n * .99)] * 1e6);
}

static void in_threads(void *(*run)(void *)) {
    pthread_t *all = malloc(threads * sizeof *all);
    latency = malloc(sizeof(double) * rounds * threads);
    double start = now();
    for (long i = 0; i < threads; i++) pthread_create(all + i, NULL, run, (void *)i);
    for (int i = 0; i < threads; i++) pthread_join(all[i], NULL);
    report(now() - start);
}

int main(int count, char **words) {
    if (count < 5) return 2;
    signal(SIGPIPE, SIG_IGN);
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    port = atoi(words[1]);
    FILE *file = fopen(words[2], "rb");
    hello_bytes = fread(hello, 1, 65536, file);
    const char *what = words[3];
    unsigned long long bytes = strtoull(words[4], NULL, 10) << 20, done = 0;
    if (!strcmp(what, "up")) {
        char *buffer = calloc(1, 1 << 20);
        int fd = dial('S');
        double start = now();
        for (; done < bytes; done += 1 << 20) write_all(fd, buffer, 1 << 20);
        shutdown(fd, SHUT_WR);
        unsigned long long counted = 0;
        if (read(fd, &counted, 8) != 8) printf("rate=%.4f answer=lost\n", bytes / (now() - start) / 1e9);
        else printf("rate=%.4f answer=%s\n", bytes / (now() - start) / 1e9, counted == bytes ? "kept" : "wrong");
    } else if (!strcmp(what, "down")) {
        char *buffer = malloc(1 << 20);
        int fd = dial('G');
        double start = now();
        write_all(fd, &bytes, 8);
        while (done < bytes) {
            ssize_t n = read(fd, buffer, 1 << 20);
            if (n <= 0) fail("short");
            done += n;
        }
        printf("rate=%.4f\n", bytes / (now() - start) / 1e9);
    } else if (!strcmp(what, "ping") && count == 7) {
        rounds = atoi(words[4]), size = atoi(words[5]), threads = atoi(words[6]);
        in_threads(ping);
    } else if (!strcmp(what, "conn") && count == 6) {
        threads = atoi(words[5]), rounds = atoi(words[4]) / threads;
        in_threads(visit);
    } else if (!strcmp(what, "rate") && count == 6) {
        int n = atoi(words[4]);
        double step = 1.0 / atof(words[5]), start = now();
        threads = 1, rounds = n;
        latency = malloc(sizeof(double) * n);
        for (int i = 0; i < n; i++) {
            double wait = start + i * step - now();
            if (wait > 0) usleep(wait * 1e6);
            char byte = 'x';
            double begin = now();
            int fd = dial('E');
            write_all(fd, &byte, 1);
            read_all(fd, &byte, 1);
            close(fd);
            latency[i] = now() - begin;
        }
        report(now() - start);
    } else if (!strcmp(what, "hold")) {
        int n = atoi(words[4]);
        double start = now();
        for (int i = 0; i < n; i++) {
            char byte = 'x';
            int fd = dial('E');
            write_all(fd, &byte, 1);
            read_all(fd, &byte, 1);
        }
        printf("held=%d seconds=%.2f\n", n, now() - start);
        fflush(stdout);
        getchar();
    }
    return 0;
}
