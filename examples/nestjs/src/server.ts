import 'reflect-metadata';
import { createRelay, type Relay } from '@arc/thread-core';
import { serveRelay } from '@arc/thread-core/host';
import {
  type BeforeApplicationShutdown,
  Controller,
  Get,
  Inject,
  Injectable,
  Logger,
  Module,
  type OnApplicationBootstrap,
} from '@nestjs/common';
import { HttpAdapterHost, NestFactory } from '@nestjs/core';
import { ExpressAdapter } from '@nestjs/platform-express';
import { FastifyAdapter } from '@nestjs/platform-fastify';
import { WsAdapter } from '@nestjs/platform-ws';
import { MessageBody, SubscribeMessage, WebSocketGateway } from '@nestjs/websockets';

const { PORT = '3000', PLATFORM = 'express', ARC_ENDPOINT = 'http://127.0.0.1:8000/arc', ARC_TOKEN } = process.env;

/** The server listens on a loopback address: no page whose own name was made to point there may use it. */
const LOOPBACK_HOSTS = ['localhost', '127.0.0.1', '[::1]'];

const log = new Logger('relay');

/** Nest's logger takes the message first, and calls `info` `log`. */
const logger = {
  debug: (fields: object, message: string): void => log.debug({ message, ...fields }),
  info: (fields: object, message: string): void => log.log({ message, ...fields }),
  warn: (fields: object, message: string): void => log.warn({ message, ...fields }),
  error: (fields: object, message: string): void => log.error({ message, ...fields }),
};

/** The relay on `/ws`. Other providers can inject it, for `stats()` or `sessions`. */
@Injectable()
class RelayService implements OnApplicationBootstrap, BeforeApplicationShutdown {
  readonly relay: Relay = createRelay({
    endpoint: ARC_ENDPOINT,
    token: ARC_TOKEN,
    allowedHosts: LOOPBACK_HOSTS,
    logger,
  });

  constructor(@Inject(HttpAdapterHost) private readonly host: HttpAdapterHost) {}

  onApplicationBootstrap(): void {
    serveRelay(this.host.httpAdapter.getHttpServer(), this.relay, { path: '/ws' });
  }

  // Before Nest closes its gateways and its server: every chat is ended, and every client is closed with 1001.
  async beforeApplicationShutdown(): Promise<void> {
    await this.relay.close();
  }
}

/** A gateway of the app's own, on the same server. */
@WebSocketGateway({ path: '/echo' })
class EchoGateway {
  @SubscribeMessage('echo')
  echo(@MessageBody() data: string): { event: string; data: string } {
    return { event: 'echo', data };
  }
}

@Controller()
class PageController {
  @Get()
  page(): string {
    return 'A page of the app';
  }
}

@Module({ providers: [RelayService, EchoGateway], controllers: [PageController] })
class AppModule {}

const platform = PLATFORM === 'fastify' ? new FastifyAdapter() : new ExpressAdapter();
const app = await NestFactory.create(AppModule, platform, { logger: ['warn', 'error'] });
app.useWebSocketAdapter(new WsAdapter(app));
// With this SIGTERM closes the app. By default Nest then ends the process by the signal; so it exits with 0.
app.enableShutdownHooks(['SIGTERM', 'SIGINT'], { useProcessExit: true });
await app.listen(PORT, '127.0.0.1');
process.stdout.write(`Open ${await app.getUrl()}\n`);
