// Print both credentials of an application: java Read.java APP_ID
//
// With a client library, such as Jedis, this is one line:   String value = new JedisPooled(url).get(key);
// This example needs no library: it writes the commands to a socket.
import java.io.DataInputStream;
import java.io.IOException;
import java.io.PrintStream;
import java.net.Socket;
import java.net.URI;
import java.nio.charset.StandardCharsets;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

public class Read {
    static String call(Socket socket, String... words) throws IOException {
        StringBuilder command = new StringBuilder("*" + words.length + "\r\n");
        for (String word : words) {
            command.append("$" + word.getBytes(StandardCharsets.UTF_8).length + "\r\n" + word + "\r\n");
        }
        socket.getOutputStream().write(command.toString().getBytes(StandardCharsets.UTF_8));
        DataInputStream in = new DataInputStream(socket.getInputStream());
        @SuppressWarnings("deprecation") String head = in.readLine();
        if (head == null || head.startsWith("-")) throw new IOException("Redis refused " + words[0]);
        if (!head.startsWith("$") || head.equals("$-1")) return null;
        byte[] value = new byte[Integer.parseInt(head.substring(1))];
        in.readFully(value);
        in.readFully(new byte[2]);
        return new String(value, StandardCharsets.UTF_8);
    }

    public static void main(String[] arguments) throws Exception {
        URI at = URI.create(System.getenv().getOrDefault("REDIS_URL", "redis://127.0.0.1:6379/0"));
        PrintStream out = new PrintStream(System.out, true, "UTF-8");
        try (Socket socket = new Socket(at.getHost(), at.getPort() < 0 ? 6379 : at.getPort())) {
            socket.setSoTimeout(1000);
            if (at.getUserInfo() != null) call(socket, "AUTH", at.getUserInfo().split(":", 2)[1]);
            if (at.getPath().length() > 1) call(socket, "SELECT", at.getPath().substring(1));
            for (String name : new String[] {"server_access_token", "js_ticket"}) {
                String key = "type/" + name + "_info/app_id/" + arguments[0];
                String value = call(socket, "GET", key);
                if (value == null) {
                    System.err.println("nothing is stored under " + key + ": run token-refresher status");
                    System.exit(1);
                }
                // A credential has letters and digits only, so this pattern is enough. Use a JSON library in your service.
                Matcher member = Pattern.compile("\"" + name + "\":\\s*\"([^\"\\\\]+)\"").matcher(value);
                if (!member.find()) throw new IOException("no credential in the value of " + key);
                out.println(member.group(1));
            }
        }
    }
}
