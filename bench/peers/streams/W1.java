import com.fasterxml.jackson.core.JsonFactory;
import com.fasterxml.jackson.core.JsonParser;
import com.fasterxml.jackson.core.JsonToken;
import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.io.DataInputStream;
import java.io.DataOutputStream;
import java.io.IOException;
import java.lang.management.ManagementFactory;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayDeque;
import java.util.HashMap;
import java.util.HashSet;
import java.util.Iterator;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.Properties;
import java.util.Set;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.atomic.AtomicLong;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.StreamsConfig;
import org.apache.kafka.streams.Topology;
import org.apache.kafka.streams.processor.PunctuationType;
import org.apache.kafka.streams.processor.api.Processor;
import org.apache.kafka.streams.processor.api.ProcessorContext;
import org.apache.kafka.streams.processor.api.Record;
import org.apache.kafka.streams.state.KeyValueStore;
import org.apache.kafka.streams.state.Stores;

/**
 * Kafka Streams: requests in 60 s and different patients in 10 min per credential, in a Processor written by
 * hand: state on the heap, what changed is put into a logged store every five seconds and at a commit.
 *
 * It does not do: exactness out of order (late events are put at the end), exactly once (at least once here:
 * what was counted after the last put is counted again), two axes.
 */
public final class W1 {
    private static final AtomicLong SEEN = new AtomicLong();
    private static final CountDownLatch DONE = new CountDownLatch(1);
    private static final long COUNT = Long.parseLong(env("BENCH_COUNT"));
    private static volatile long fromSeen, fromNanos, fromCpu;

    private static final class Window {
        final ArrayDeque<Long> times = new ArrayDeque<>();
        final LinkedHashMap<String, Long> patients = new LinkedHashMap<>();

        boolean add(long at, String patient) {
            times.addLast(at);
            while (times.peekFirst() <= at - 60_000) times.removeFirst();
            if (patient != null) {
                patients.remove(patient);
                patients.put(patient, at);
                Iterator<Map.Entry<String, Long>> oldest = patients.entrySet().iterator();
                while (oldest.hasNext() && oldest.next().getValue() <= at - 600_000) oldest.remove();
            }
            return times.size() >= 600 || patients.size() >= 200;
        }

        byte[] bytes() throws IOException {
            ByteArrayOutputStream out = new ByteArrayOutputStream();
            DataOutputStream data = new DataOutputStream(out);
            data.writeInt(times.size());
            for (long at : times) data.writeLong(at);
            data.writeInt(patients.size());
            for (Map.Entry<String, Long> entry : patients.entrySet()) {
                data.writeUTF(entry.getKey());
                data.writeLong(entry.getValue());
            }
            return out.toByteArray();
        }

        static Window of(byte[] bytes) throws IOException {
            Window window = new Window();
            DataInputStream data = new DataInputStream(new ByteArrayInputStream(bytes));
            for (int left = data.readInt(); left > 0; left--) window.times.addLast(data.readLong());
            for (int left = data.readInt(); left > 0; left--) window.patients.put(data.readUTF(), data.readLong());
            return window;
        }
    }

    private static final class Counter implements Processor<String, byte[], String, String> {
        private final JsonFactory json = new JsonFactory();
        private final Map<String, Window> windows = new HashMap<>();
        private final Set<String> changed = new HashSet<>();
        private KeyValueStore<String, byte[]> store;
        private long found;

        @Override
        public void init(ProcessorContext<String, String> context) {
            store = context.getStateStore("windows");
            context.schedule(Duration.ofSeconds(5), PunctuationType.WALL_CLOCK_TIME, at -> save());
        }

        @Override
        public void process(Record<String, byte[]> record) {
            try {
                long at = 0;
                String patient = null;
                try (JsonParser parser = json.createParser(record.value())) {
                    while (parser.nextToken() != null) {
                        if (parser.currentToken() != JsonToken.FIELD_NAME) continue;
                        switch (parser.currentName()) {
                            case "time" -> at = parser.nextLongValue(0);
                            case "patient" -> patient = parser.nextTextValue();
                            default -> parser.nextToken();
                        }
                    }
                }
                String key = record.key();
                Window window = windows.get(key);
                if (window == null) {
                    byte[] saved = store.get(key);
                    window = saved == null ? new Window() : Window.of(saved);
                    windows.put(key, window);
                }
                if (window.add(at, patient)) found++;
                changed.add(key);
            } catch (IOException error) {
                throw new IllegalStateException(error);
            }
            count();
        }

        private void save() {
            try {
                for (String key : changed) store.put(key, windows.get(key).bytes());
            } catch (IOException error) {
                throw new IllegalStateException(error);
            }
            changed.clear();
        }

        @Override
        public void close() {
            save();
        }
    }

    private static void count() {
        long seen = SEEN.incrementAndGet();
        if (seen == COUNT / 10) {
            fromSeen = seen;
            fromCpu = cpuNanos();
            fromNanos = System.nanoTime();
        }
        if (seen == COUNT) DONE.countDown();
    }

    private static long cpuNanos() {
        return ((com.sun.management.OperatingSystemMXBean) ManagementFactory.getOperatingSystemMXBean()).getProcessCpuTime();
    }

    private static long peakKilobytes() throws IOException {
        for (String line : Files.readAllLines(Path.of("/proc/self/status")))
            if (line.startsWith("VmHWM:")) return Long.parseLong(line.replaceAll("\\D", ""));
        return 0;
    }

    private static String env(String name) {
        return System.getenv(name);
    }

    public static void main(String[] arguments) throws Exception {
        Properties properties = new Properties();
        properties.put(StreamsConfig.APPLICATION_ID_CONFIG, env("BENCH_GROUP"));
        properties.put(StreamsConfig.BOOTSTRAP_SERVERS_CONFIG, env("BENCH_BOOTSTRAP"));
        properties.put(StreamsConfig.STATE_DIR_CONFIG, env("BENCH_FOLDER"));
        properties.put(StreamsConfig.NUM_STREAM_THREADS_CONFIG, env("BENCH_THREADS"));
        properties.put(StreamsConfig.COMMIT_INTERVAL_MS_CONFIG, 5000);
        properties.put(StreamsConfig.REPLICATION_FACTOR_CONFIG, 1);
        properties.put(StreamsConfig.consumerPrefix("auto.offset.reset"), "earliest");
        properties.put(StreamsConfig.consumerPrefix("max.partition.fetch.bytes"), 4 << 20);
        properties.put(StreamsConfig.consumerPrefix("max.poll.records"), 5000);
        Topology topology = new Topology();
        topology.addSource("in", Serdes.String().deserializer(), Serdes.ByteArray().deserializer(), env("BENCH_TOPIC"));
        topology.addProcessor("count", Counter::new, "in");
        topology.addStateStore(
            Stores.keyValueStoreBuilder(Stores.inMemoryKeyValueStore("windows"), Serdes.String(), Serdes.ByteArray())
                .withLoggingEnabled(Map.of()),
            "count");
        KafkaStreams streams = new KafkaStreams(topology, properties);
        streams.start();
        DONE.await();
        // What is not saved yet is saved and committed here: it belongs to the work.
        streams.close(Duration.ofSeconds(30));
        double seconds = (System.nanoTime() - fromNanos) / 1e9, cpu = (cpuNanos() - fromCpu) / 1e9;
        System.out.printf(
            java.util.Locale.ROOT,
            "{\"events\": %d, \"seconds\": %.3f, \"cpu_seconds\": %.3f, \"rss_mb\": %.0f}%n",
            COUNT - fromSeen, seconds, cpu, peakKilobytes() / 1024.0);
    }
}
