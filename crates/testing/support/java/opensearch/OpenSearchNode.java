import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.Paths;
import java.util.List;
import org.opensearch.analysis.common.CommonAnalysisPlugin;
import org.opensearch.common.settings.Settings;
import org.opensearch.env.Environment;
import org.opensearch.index.mapper.MapperExtrasPlugin;
import org.opensearch.index.reindex.ReindexPlugin;
import org.opensearch.node.Node;
import org.opensearch.painless.PainlessPlugin;
import org.opensearch.transport.Netty4Plugin;

/**
 * One node of OpenSearch on 127.0.0.1, without security. Its own main class installs a security manager,
 * refuses to run as root and wants the folders of the distribution, which Maven does not have.
 *
 * <p>Arguments: the folder of its data, the port of HTTP, the port between nodes.
 */
public final class OpenSearchNode extends Node {
    private OpenSearchNode(Environment environment) {
        super(
            environment,
            List.of(
                Netty4Plugin.class,
                CommonAnalysisPlugin.class,
                PainlessPlugin.class,
                ReindexPlugin.class,
                MapperExtrasPlugin.class),
            false);
    }

    public static void main(String[] arguments) throws Exception {
        Path home = Paths.get(arguments[0]).toAbsolutePath();
        Path configuration = Files.createDirectories(home.resolve("config"));
        Settings settings =
            Settings.builder()
                .put("path.home", home.toString())
                .put("cluster.name", "test")
                .put("node.name", "test")
                .put("network.host", "127.0.0.1")
                .put("http.port", arguments[1])
                .put("transport.port", arguments[2])
                .put("discovery.type", "single-node")
                .put("transport.type", "netty4")
                .put("http.type", "netty4")
                // a machine for tests may have a full disk
                .put("cluster.routing.allocation.disk.threshold_enabled", false)
                .build();
        Node node = new OpenSearchNode(new Environment(settings, configuration));
        node.start();
        Thread.currentThread().join();
    }
}
