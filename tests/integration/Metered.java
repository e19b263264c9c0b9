import io.micrometer.core.instrument.Timer;
import io.micrometer.core.instrument.binder.kafka.KafkaClientMetrics;
import io.micrometer.prometheusmetrics.PrometheusConfig;
import io.micrometer.prometheusmetrics.PrometheusMeterRegistry;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.time.Duration;
import java.util.List;
import java.util.Map;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;

/** `java Metered BOOTSTRAP GROUP TOPIC PAGE`: 10 ms for each record; PAGE has what it would show, anew each second. */
public class Metered {
    static void process(ConsumerRecord<String, String> record) {
        try {
            Thread.sleep(10);
        } catch (InterruptedException interrupted) {
            throw new IllegalStateException(interrupted);
        }
    }

    public static void main(String[] arguments) throws Exception {
        String group = arguments[1];
        Path page = Path.of(arguments[3]);
        /* snippet: registry */
        KafkaConsumer<String, String> consumer = new KafkaConsumer<>(Map.of(
            "bootstrap.servers", arguments[0],
            "group.id", group,
            "auto.offset.reset", "earliest",
            "max.poll.records", "20",
            "max.partition.fetch.bytes", "10000",
            "key.deserializer", "org.apache.kafka.common.serialization.StringDeserializer",
            "value.deserializer", "org.apache.kafka.common.serialization.StringDeserializer"));
        /* snippet: client */
        consumer.subscribe(List.of(arguments[2]));
        long shown = 0;
        while (true) {
            for (ConsumerRecord<String, String> record : consumer.poll(Duration.ofMillis(200))) {
                /* snippet: timer */
            }
            if (System.nanoTime() - shown > 1_000_000_000L) {
                shown = System.nanoTime();
                Path next = page.resolveSibling("next");
                Files.writeString(next, registry.scrape());
                Files.move(next, page, StandardCopyOption.ATOMIC_MOVE, StandardCopyOption.REPLACE_EXISTING);
            }
        }
    }
}
