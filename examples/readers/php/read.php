<?php
// Print both credentials of an application: php read.php APP_ID   (needs the extension redis: apt install php-redis)
$at = parse_url(getenv('REDIS_URL') ?: 'redis://127.0.0.1:6379/0');
$redis = new Redis();
$redis->connect($at['host'], $at['port'] ?? 6379, 1.0);
if (isset($at['pass'])) $redis->auth(rawurldecode($at['pass']));
if (strlen($at['path'] ?? '/') > 1) $redis->select((int) substr($at['path'], 1));

foreach (['server_access_token', 'js_ticket'] as $name) {
    $key = "type/{$name}_info/app_id/{$argv[1]}";
    $value = $redis->get($key);
    if ($value === false) {
        fwrite(STDERR, "nothing is stored under $key: run token-refresher status\n");
        exit(1);
    }
    echo json_decode($value, true)[$name], "\n";
}
